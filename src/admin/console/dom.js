// Small helpers. What came over the network is only ever put into text nodes.

export const $ = (id) => document.getElementById(id);

export function element(name, className, ...content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content.filter((one) => one !== undefined));
  return made;
}

export function svg(name, attributes, ...content) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

/** Changes a text only where it is another: what stays is not read out, selected or laid out anew. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A dot with a word: the colour is never the only sign. */
export function badge(node, tone, word) {
  if (node.dataset.tone !== tone) node.dataset.tone = tone;
  node.classList.add("badge");
  write(node, word);
}

/** A sentence with names of settings in it, between backquotes. */
export function prose(node, text) {
  if (node.dataset.text === text) return;
  node.dataset.text = text;
  const parts = text.split("`");
  node.replaceChildren(...parts.map((part, at) => (at % 2 ? element("code", "", part) : part)));
}

/** Two lines in one cell, the second one quiet. */
export function lines(node, first, second) {
  if (!node.firstElementChild) node.append(element("span", "first"), element("span", "second"));
  write(node.children[0], first);
  write(node.children[1], second);
}
