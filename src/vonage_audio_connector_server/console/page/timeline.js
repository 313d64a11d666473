// The picture of the last ten seconds: the levels of both sides, with the turns and the gaps marked in them.

const SHOWN_S = 10;
const TICK_S = 0.02;
const BAR_TICKS = 3;
const BEHIND_S = 0.25; // it shows what is known for sure: levels come ten times a second
const FLOOR_DBFS = -56, TOP_DBFS = -6; // of the bars: speech is at -35 to -15

const height = (dbfs) => Math.min(1, Math.max(0, ((dbfs ?? FLOOR_DBFS) - FLOOR_DBFS) / (TOP_DBFS - FLOOR_DBFS)));

export function levelOf(samples) {
  let energy = 0;
  for (const sample of samples) energy += sample * sample;
  return energy ? 10 * Math.log10(energy / samples.length / 32768 ** 2) : -96;
}

export class Timeline {
  constructor(canvas) {
    this.canvas = canvas;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.reset();
    const draw = () => {
      this.draw();
      requestAnimationFrame(draw);
    };
    requestAnimationFrame(draw);
  }

  reset() {
    this.said = []; // dBFS by tick; where nothing was said there is a hole
    this.heard = [];
    this.marks = []; // { kind, fromS, toS, text }
    this.shownS = 0;
    this.drawnAt = performance.now();
  }

  // Levels of frames of which the last one went out at a time.
  addSaid(atS, levels) {
    const last = Math.round(atS / TICK_S);
    levels.forEach((level, index) => { this.said[Math.max(0, last - levels.length + 1 + index)] = level; });
  }

  addHeard(level) { this.heard.push(level); }

  mark(kind, fromS, toS, text) { this.marks.push({ kind, fromS, toS, text }); }

  // Seconds of the call at the right edge: a smooth clock, led by the frames that were heard.
  edgeS() {
    const now = performance.now(), target = Math.max(0, this.heard.length * TICK_S - BEHIND_S);
    const elapsed = (now - this.drawnAt) / 1000;
    this.drawnAt = now;
    if (Math.abs(target - this.shownS) > 0.5) this.shownS = target;
    else this.shownS = Math.min(target + 0.1, this.shownS + elapsed + (target - this.shownS) * 0.06);
    return this.calm.matches ? Math.floor(target * 5) / 5 : this.shownS;
  }

  draw() {
    const { canvas } = this, scale = devicePixelRatio || 1, width = canvas.clientWidth, tall = canvas.clientHeight;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(tall * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(tall * scale);
    }
    const style = getComputedStyle(document.documentElement), color = (name) => style.getPropertyValue(`--${name}`).trim();
    const paint = canvas.getContext("2d");
    paint.setTransform(scale, 0, 0, scale, 0, 0);
    paint.clearRect(0, 0, width, tall);
    const view = { paint, width, tall, middle: tall / 2, edgeS: this.edgeS(), perS: width / SHOWN_S, color };
    for (const mark of this.marks) this.drawGround(view, mark);
    this.drawBars(view);
    for (const mark of this.marks) this.drawLabel(view, mark);
    const oldest = view.edgeS - SHOWN_S - 5;
    if (this.marks.length && this.marks[0].toS < oldest) this.marks.shift();
  }

  drawBars({ paint, width, middle, edgeS, perS, color }) {
    const barS = BAR_TICKS * TICK_S, pitch = barS * perS, thick = Math.max(1.5, pitch * 0.62), most = middle - 18;
    const last = Math.ceil(edgeS / barS);
    for (const [levels, name, up] of [[this.said, "you", true], [this.heard, "program", false]]) {
      paint.fillStyle = color(name);
      for (let bar = last - Math.ceil(SHOWN_S / barS) - 1; bar <= last; bar++) {
        const x = width - (edgeS - bar * barS) * perS;
        let level = 0;
        for (let tick = bar * BAR_TICKS; tick < (bar + 1) * BAR_TICKS; tick++) level = Math.max(level, height(levels[tick]));
        if (bar * barS > edgeS) level = 0;
        const size = Math.max(1.5, level * most);
        paint.globalAlpha = level > 0.02 ? 0.55 + 0.45 * level : 0.22;
        paint.beginPath();
        paint.roundRect(x, up ? middle - 1.5 - size : middle + 1.5, thick, size, Math.min(thick / 2, size / 2));
        paint.fill();
      }
    }
    paint.globalAlpha = 1;
  }

  drawGround({ paint, width, tall, middle, edgeS, perS, color }, { kind, fromS, toS }) {
    const x = (atS) => width - (edgeS - atS) * perS, from = x(fromS), size = Math.max(2, x(toS) - from);
    if (x(toS) < 0) return;
    if (kind === "answer") {
      paint.strokeStyle = color("soft");
      paint.lineWidth = 1.25;
      paint.beginPath();
      paint.moveTo(from, middle - 9); paint.lineTo(from, middle + 9);
      paint.moveTo(from, middle); paint.lineTo(from + size, middle);
      paint.moveTo(from + size, middle - 9); paint.lineTo(from + size, middle + 9);
      paint.stroke();
      return;
    }
    paint.fillStyle = color(kind === "gap" ? "warn" : "bad");
    paint.globalAlpha = 0.2;
    paint.fillRect(from, kind === "gap" ? middle : 14, size, kind === "gap" ? middle - 14 : tall - 28);
    paint.globalAlpha = 1;
    paint.fillRect(from, kind === "gap" ? middle : 14, 1.5, kind === "gap" ? middle - 14 : tall - 28);
  }

  drawLabel({ paint, width, tall, middle, edgeS, perS, color }, { kind, fromS, toS, text }) {
    const x = (atS) => width - (edgeS - atS) * perS;
    paint.font = "600 11.5px system-ui, sans-serif";
    paint.textBaseline = "middle";
    const size = paint.measureText(text).width + 10, isAnswer = kind === "answer";
    const left = Math.min(isAnswer ? (x(fromS) + x(toS) - size) / 2 : x(fromS) - 5, width - size);
    if (left + size < 0) return;
    const y = isAnswer ? middle - 19 : kind === "gap" ? tall - 8 : 8;
    paint.fillStyle = color("card");
    paint.globalAlpha = 0.85;
    paint.beginPath();
    paint.roundRect(left, y - 8, size, 16, 5);
    paint.fill();
    paint.globalAlpha = 1;
    paint.fillStyle = color(kind === "gap" ? "warn" : isAnswer ? "ink" : "bad");
    paint.fillText(text, left + 5, y + 0.5);
  }
}
