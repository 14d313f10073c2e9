// A view's own style sheet, loaded once; resolves when it is in force.

const loaded = new Map();

export function sheet(path) {
  if (!loaded.has(path)) {
    const link = document.createElement("link");
    [link.rel, link.href] = ["stylesheet", path];
    loaded.set(path, new Promise((resolve) => (link.onload = link.onerror = resolve)));
    document.head.append(link);
  }
  return loaded.get(path);
}
