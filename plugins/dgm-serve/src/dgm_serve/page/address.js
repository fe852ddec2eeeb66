// The whole state of the page is its address: #/model/view?key=value&...

export function parse() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [model, view] = path.split("/").map(decodeURIComponent);
  return { model, view, state: new State(query) };
}

export const link = (...path) => `#/${path.map(encodeURIComponent).join("/")}`;

class State {
  defaults = {};

  constructor(query) {
    this.values = new URLSearchParams(query);
  }

  // The values of the address, or these, where it has none of their type.
  read(defaults) {
    Object.assign(this.defaults, defaults);
    return Object.fromEntries(Object.entries(defaults).map(([key, otherwise]) => {
      const text = this.values.get(key);
      if (text === null || typeof otherwise === "string") return [key, text ?? otherwise];
      try {
        const value = JSON.parse(text);
        return [key, otherwise === null || typeof value === typeof otherwise ? value : otherwise];
      } catch {
        return [key, otherwise];
      }
    }));
  }

  // Those that are not as by default, [key, value].
  changed(values) {
    return Object.entries(values).filter(([key, value]) => value !== this.defaults[key]);
  }

  // Changes the address without a new page.
  set(values) {
    const query = new URLSearchParams(this.changed(values));
    history.replaceState(null, "", location.hash.split("?")[0] + (query.size ? `?${query}` : ""));
  }
}
