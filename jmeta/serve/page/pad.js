// A pad: something to draw on, or to put a picture on.

import { button, fail, make } from "./parts.js";

const SIDE = 224; // pixels of a drawing; the server scales them
const PEN = 0.085; // width of the pen, of a side
const FILL = 0.72; // a drawing is centred and fills this much of a side

export class Pad {
  constructor(shape, name, changed, removed) {
    this.shape = shape;
    this.changed = changed;
    this.ink = make("canvas");
    this.canvas = make("canvas", { tabindex: "0", role: "img", "aria-describedby": "drawing-hint" });
    for (const each of [this.ink, this.canvas]) each.width = each.height = SIDE;
    this.pen = { x: SIDE / 2, y: SIDE / 2, down: false };
    this.button = button(removed ? "Remove" : "Clear", () => (removed ? removed() : this.clear()));
    this.element = make("figure", { class: "pad" }, this.canvas, this.button);
    this.rename(name);
    this.wipe();
    this.listen();
  }

  rename(name) {
    this.canvas.setAttribute("aria-label", `${name}: draw here`);
    this.button.setAttribute("aria-label", `${this.button.textContent} ${name}`);
  }

  wipe() {
    this.empty = true;
    this.photo = false;
    this.ink.getContext("2d").clearRect(0, 0, SIDE, SIDE);
    this.show();
  }

  clear() {
    this.wipe();
    this.changed();
  }

  show() {
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, SIDE, SIDE);
    context.drawImage(this.ink, 0, 0);
    if (document.activeElement !== this.canvas || !this.typed) return;
    context.strokeStyle = this.pen.down ? "#c0392b" : "#1f5fbf";
    context.lineWidth = 3;
    context.beginPath();
    context.arc(this.pen.x, this.pen.y, SIDE * PEN, 0, 2 * Math.PI);
    context.stroke();
  }

  line(to) {
    if (this.photo) this.wipe();
    const context = this.ink.getContext("2d");
    context.strokeStyle = "#111";
    context.lineWidth = SIDE * PEN;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(this.pen.x, this.pen.y);
    context.lineTo(to.x + 0.01, to.y);
    context.stroke();
    this.empty = false;
    this.changed();
  }

  move(to) {
    if (this.pen.down) this.line(to);
    this.pen = { ...this.pen, ...to };
    this.show();
  }

  listen() {
    const place = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return {
        x: ((event.clientX - box.left) / box.width) * SIDE,
        y: ((event.clientY - box.top) / box.height) * SIDE,
      };
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.typed = false;
      this.canvas.setPointerCapture(event.pointerId);
      this.pen = { ...place(event), down: true };
      this.move(place(event));
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (this.pen.down && !this.typed) this.move(place(event));
    });
    for (const name of ["pointerup", "pointercancel", "blur"]) {
      this.canvas.addEventListener(name, () => {
        this.pen.down = false;
        this.show();
      });
    }
    this.canvas.addEventListener("focus", () => this.show());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const step = SIDE / 28;
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = ways[event.key];
    if (!way && ![" ", "Delete", "Backspace"].includes(event.key)) return;
    event.preventDefault();
    this.typed = true;
    const within = (value) => Math.min(Math.max(value, 0), SIDE);
    if (way) {
      this.move({ x: within(this.pen.x + step * way[0]), y: within(this.pen.y + step * way[1]) });
    } else if (event.key === " ") {
      this.pen.down = !this.pen.down;
      this.move({});
      if (this.pen.down) this.line(this.pen);
      this.show();
    } else {
      this.clear();
    }
  }

  async load(file) {
    try {
      const picture = await createImageBitmap(file);
      this.wipe();
      this.ink.getContext("2d").drawImage(picture, 0, 0, SIDE, SIDE);
    } catch {
      fail(`${file.name} is not a picture that this browser can read.`);
      return;
    }
    this.empty = false;
    this.photo = true;
    this.show();
    this.changed();
  }

  // The base64 of a PNG, dark ink on white paper; a drawing is centred, as training images are.
  png() {
    const [high, wide] = this.shape;
    const paper = make("canvas");
    [paper.width, paper.height] = high === wide ? [SIDE, SIDE] : [wide, high];
    const context = paper.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, paper.width, paper.height);
    const box = this.photo ? { x: 0, y: 0, side: SIDE } : this.frame();
    context.drawImage(this.ink, box.x, box.y, box.side, box.side, 0, 0, paper.width, paper.height);
    return paper.toDataURL("image/png").split(",")[1];
  }

  // The square around the ink that shall fill the paper.
  frame() {
    const { data } = this.ink.getContext("2d").getImageData(0, 0, SIDE, SIDE);
    let [left, top, right, bottom] = [SIDE, SIDE, 0, 0];
    for (let i = 3, place = 0; i < data.length; i += 4, place += 1) {
      if (data[i] < 64) continue;
      const [x, y] = [place % SIDE, Math.floor(place / SIDE)];
      [left, right] = [Math.min(left, x), Math.max(right, x)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    }
    const side = Math.max(right - left, bottom - top, SIDE / 3) / FILL;
    return { x: (left + right - side) / 2, y: (top + bottom - side) / 2, side };
  }
}
