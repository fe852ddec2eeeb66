// The whole state of the page is its address: #/model/view?key=value&...

export function parse(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [model = "", view = ""] = path.split("/").map(decodeURIComponent);
  return { model, view, state: new State(query) };
}

export function link(model = "", view = "", values = {}) {
  const path = [model, view].filter(Boolean).map(encodeURIComponent).join("/");
  const query = new URLSearchParams(Object.entries(values).filter(([, v]) => v !== undefined && v !== ""));
  return `#/${path}${String(query) && "?"}${query}`;
}

class State {
  constructor(query) {
    this.values = new URLSearchParams(query);
  }

  text(key, otherwise = "") {
    return this.values.get(key) ?? otherwise;
  }

  number(key, otherwise) {
    const value = Number.parseFloat(this.values.get(key));
    return Number.isFinite(value) ? value : otherwise;
  }

  // The options of a model are in the address as o.NAME, as JSON.
  options(defaults = {}) {
    const found = { ...defaults };
    for (const [key, value] of this.values) {
      if (!key.startsWith("o.")) continue;
      try {
        found[key.slice(2)] = JSON.parse(value);
      } catch {
        continue; // a damaged address is read as far as it goes
      }
    }
    return found;
  }

  // Changes the address without a new page; undefined and "" are left out of it. Options replace those before.
  set(values, options) {
    if (options) {
      for (const key of [...this.values.keys()].filter((key) => key.startsWith("o."))) this.values.delete(key);
      values = { ...values, ...Object.fromEntries(Object.entries(options).map(([k, v]) => [`o.${k}`, JSON.stringify(v)])) };
    }
    for (const [key, value] of Object.entries(values)) {
      if (value === undefined || value === "" || value === null) this.values.delete(key);
      else this.values.set(key, value);
    }
    const query = String(this.values);
    history.replaceState(null, "", location.hash.split("?")[0] + (query && `?${query}`));
  }
}
