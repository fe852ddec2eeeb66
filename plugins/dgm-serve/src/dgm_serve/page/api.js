// Questions to the server. An answer that is an error is thrown, with its two lines.

export class Refused extends Error {
  constructor({ error, hint }) {
    super(error);
    this.hint = hint ?? "";
  }
}

async function ask(path, body, signal) {
  const options = { signal };
  if (body !== undefined) {
    Object.assign(options, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused({ error: "the server does not answer", hint: "is dgm serve still running?" });
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({ error: `the server said ${answer.status}`, hint: "" }));
  throw new Refused(said);
}

export const json = async (path, body, signal) => (await ask(path, body, signal)).json();
export const blob = async (path, body, signal) => (await ask(path, body, signal)).blob();

// Raw float32: { x: Float32Array, shape: [n, ...], and facts such as the range of the data }.
export async function floats(path, body, signal) {
  const answer = await ask(path, body, signal);
  const shape = answer.headers.get("dgm-shape").split(",").map(Number);
  return { x: new Float32Array(await answer.arrayBuffer()), shape, ...JSON.parse(answer.headers.get("dgm-facts")) };
}

// Server-sent events, as { name, data }, until the server ends them or the signal is aborted.
export async function* events(path, ask_, signal) {
  const query = ask_ === undefined ? "" : `?ask=${encodeURIComponent(JSON.stringify(ask_))}`;
  const reader = (await ask(path + query, undefined, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (true) {
    const { value, done } = await reader.read();
    if (done) throw new Refused({ error: "the server has broken off", hint: "try again" });
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const [first, second] = block.split("\n");
      const [name, data] = [first.slice(7), JSON.parse(second.slice(6))];
      if (name === "end") return;
      if (name === "error") throw new Refused(data);
      yield { name, data };
    }
  }
}

export function decoded(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

// Runs the newest of many calls: one at a time, and those that were overtaken never.
export function newest(work) {
  let waiting = null;
  let running = false;
  return async function call(...args) {
    waiting = args;
    if (running) return;
    running = true;
    try {
      while (waiting) {
        const now = waiting;
        waiting = null;
        await work(...now);
      }
    } finally {
      running = false;
    }
  };
}
