// Elements of the page, and errors in words.

export const $ = (id) => document.getElementById(id);

export function make(tag, options = {}, ...children) {
  const { text, ...attributes } = options;
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

export function button(text, action) {
  const made = make("button", { type: "button", text });
  made.addEventListener("click", action);
  return made;
}

export function chooser(text, multiple, take) {
  const input = make("input", { type: "file", accept: "image/*", "aria-label": text });
  input.multiple = multiple;
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
  return make("label", { class: "button", text }, input);
}

export function droppable(element, take) {
  for (const name of ["dragover", "dragenter"]) {
    element.addEventListener(name, (event) => {
      event.preventDefault();
      element.classList.add("over");
    });
  }
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over");
    take([...event.dataTransfer.files]);
  });
}

export function fail(words) {
  $("error").textContent = words;
  $("error").hidden = !words;
}
