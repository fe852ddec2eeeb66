// Questions to the server. An answer that is an error is thrown, with its two lines.

export class Refused extends Error {
  constructor({ error, hint = "" }) {
    super(error);
    this.hint = hint;
  }
}

async function ask(path, body, signal) {
  const post = body && { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const answer = await fetch(path, { signal, ...post }).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Refused({ error: "the server does not answer", hint: "is dgm serve still running?" });
  });
  if (answer.ok) return answer;
  throw new Refused(await answer.json().catch(() => ({ error: `the server said ${answer.status}` })));
}

export const json = async (path, body, signal) => (await ask(path, body, signal)).json();
export const blob = async (path, body, signal) => (await ask(path, body, signal)).blob();

// Raw float32: { x: Float32Array, shape: [n, ...], and facts such as the range of the data }.
export async function floats(path, body, signal) {
  const answer = await ask(path, body, signal);
  const shape = answer.headers.get("dgm-shape").split(",").map(Number);
  return { x: new Float32Array(await answer.arrayBuffer()), shape, ...JSON.parse(answer.headers.get("dgm-facts")) };
}

// Server-sent events, as { name, data }, until the server ends them. (An EventSource would ask again by itself, and
// keep to itself what a refusal says.)
export async function* events(path, signal, question) {
  const query = question ? `?ask=${encodeURIComponent(JSON.stringify(question))}` : "";
  const reader = (await ask(path + query, undefined, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (true) {
    const { value, done } = await reader.read();
    if (done) throw new Refused({ error: "the server has broken off", hint: "try again" });
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const [, name, data] = block.match(/^event: (.*)\ndata: (.*)$/);
      if (name === "end") return;
      if (name === "error") throw new Refused(JSON.parse(data));
      yield { name, data: JSON.parse(data) };
    }
  }
}
