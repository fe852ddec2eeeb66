// The whole state of the page is its address: #/model/view?key=value&...

export function parse(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [model = "", view = ""] = path.split("/").map(decodeURIComponent);
  return { model, view, state: new State(query) };
}

export const link = (...path) => `#/${path.map(encodeURIComponent).join("/")}`;

class State {
  constructor(query) {
    this.values = new URLSearchParams(query);
    this.defaults = {};
  }

  // The values of the address, or these: numbers where these are numbers.
  read(defaults) {
    Object.assign(this.defaults, defaults);
    return Object.fromEntries(Object.entries(defaults).map(([key, otherwise]) => {
      const text = this.values.get(key) ?? "";
      const value = typeof otherwise === "number" ? Number.parseFloat(text) : text;
      return [key, value === "" || Number.isNaN(value) ? otherwise : value];
    }));
  }

  // The options of a model are in the address as o.NAME, as JSON.
  options() {
    const found = {};
    for (const [key, value] of this.values) {
      try {
        if (key.startsWith("o.")) found[key.slice(2)] = JSON.parse(value);
      } catch {
        continue; // a damaged address is read as far as it goes
      }
    }
    return found;
  }

  // Changes the address without a new page; what is as by default is left out of it.
  set(values, options = {}) {
    for (const key of [...this.values.keys()]) if (key.startsWith("o.")) this.values.delete(key);
    for (const [key, value] of Object.entries(options)) this.values.set(`o.${key}`, JSON.stringify(value));
    for (const [key, value] of Object.entries(values)) {
      if (value === "" || value === this.defaults[key]) this.values.delete(key);
      else this.values.set(key, value);
    }
    history.replaceState(null, "", location.hash.split("?")[0] + (this.values.size ? `?${this.values}` : ""));
  }
}
