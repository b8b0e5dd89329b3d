/**
 * What the demo prints: acts, who does what, checks. Colour only on a terminal, and not with NO_COLOR,
 * so that a log of the demo reads as well as the demo itself.
 */
const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 };
const WIDTH = 78;
const ACTOR_WIDTH = 8;

const hasColour =
  process.stdout.isTTY === true &&
  (process.env.NO_COLOR ?? "") === "" &&
  process.env.TERM !== "dumb";

const paint = (style, text) => (hasColour ? `\u001b[${CODES[style]}m${text}\u001b[0m` : text);

/** What was printed last, so that one blank line, never two, parts it from what is of another kind. */
let last = "blank";

function line(kind, text) {
  if (last !== "blank" && last !== kind) process.stdout.write("\n");
  process.stdout.write(`${text}\n`);
  last = kind;
}

export function opening(text) {
  line("title", paint("bold", text));
}

export function act(number, title, ...lead) {
  line("act", paint("bold", `━━ ${number}  ${title} `.padEnd(WIDTH, "━")));
  for (const sentence of lead) line("act", `   ${paint("dim", sentence)}`);
}

/** One thing that happened, and who did it. */
export function say(actor, text) {
  line("story", `   ${paint("cyan", actor.padEnd(ACTOR_WIDTH))}  ${text}`);
}

/** Like `say`, for what goes wrong on purpose. */
export function alarm(actor, text) {
  say(actor, paint("red", text));
}

/** A command that the reader could type; its own output follows. */
export function command(text) {
  line("command", paint("bold", `$ ${text}`));
  last = "output";
}

/** A table of checks; `found` says what was seen, whatever the outcome. */
export function checks(rows) {
  const width = Math.max(...rows.map(({ what }) => what.length));
  for (const { isRight, what, found } of rows) {
    const style = isRight ? "green" : "red";
    const seen = paint(isRight ? "dim" : "red", found);
    line("checks", `   ${paint(style, isRight ? "✔" : "✘")} ${what.padEnd(width)}   ${seen}`);
  }
}

export function ending(isRight, text) {
  line("ending", paint(isRight ? "green" : "red", text));
}
