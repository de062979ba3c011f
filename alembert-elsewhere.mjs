
import { env, pipeline } from '@huggingface/transformers';
const [home, name, task, dtype, options, texts] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = home;
const ask = await pipeline(task, name, { dtype });
const answers = [];
for (const text of JSON.parse(texts)) {
  const found = await ask(text, JSON.parse(options));
  answers.push(found.tolist ? found.tolist()[0] : found);
}
console.log(JSON.stringify(answers));
