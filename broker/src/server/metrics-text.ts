/**
 * Counters, gauges and a histogram, and what they say in Prometheus' text format 0.0.4.
 *
 * Invariants
 * - M1 Names, help and the values of labels are words of ours: nothing that a peer chose gets here. So the number of
 *   lines is bounded, and nothing needs escaping.
 */
export const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

const PREFIX = "escrowmq_";

export class Counter {
  readonly #name: string;
  readonly #help: string;
  readonly #labels: readonly string[];
  /** By the values of its labels. */
  readonly #counts = new Map<string, number>();

  constructor(name: string, help: string, ...labels: readonly string[]) {
    this.#name = name;
    this.#help = help;
    this.#labels = labels;
    if (labels.length === 0) this.#counts.set("", 0);
  }

  /** `values`: of its labels, with a blank between two of them. */
  add(count = 1, values = ""): void {
    this.#counts.set(values, (this.#counts.get(values) ?? 0) + count);
  }

  text(): string {
    let text = headOf(this.#name, "counter", this.#help);
    for (const [values, count] of this.#counts)
      text += lineOf(this.#name, labelsOf(this.#labels, values), count);
    return text;
  }
}

/** What is so at the moment: one number, or one for each value of a label. */
export function gaugeText(
  name: string,
  help: string,
  now: number | readonly (readonly [value: string, now: number])[],
  label = "",
): string {
  const samples = typeof now === "number" ? [["", now] as const] : now;
  const labels = label === "" ? [] : [label];
  return samples.reduce(
    (text, [value, number]) => text + lineOf(name, labelsOf(labels, value), number),
    headOf(name, "gauge", help),
  );
}

export class Histogram {
  readonly #name: string;
  readonly #help: string;
  /** Up to which value each counts; the last one counts the rest. */
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  constructor(name: string, help: string, bounds: readonly number[]) {
    this.#name = name;
    this.#help = help;
    this.#bounds = [...bounds, Number.POSITIVE_INFINITY];
    this.#counts = this.#bounds.map(() => 0);
  }

  observe(value: number): void {
    const at = this.#bounds.findIndex((bound) => value <= bound);
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#sum += value;
  }

  /** A bucket holds those of all before it, too. */
  text(): string {
    let text = headOf(this.#name, "histogram", this.#help);
    let count = 0;
    for (const [at, bound] of this.#bounds.entries()) {
      count += this.#counts[at] ?? 0;
      const le = bound === Number.POSITIVE_INFINITY ? "+Inf" : String(bound);
      text += lineOf(`${this.#name}_bucket`, labelsOf(["le"], le), count);
    }
    return (
      text + lineOf(`${this.#name}_sum`, "", this.#sum) + lineOf(`${this.#name}_count`, "", count)
    );
  }
}

const headOf = (name: string, type: string, help: string): string =>
  `# HELP ${PREFIX}${name} ${help}\n# TYPE ${PREFIX}${name} ${type}\n`;

const lineOf = (name: string, labels: string, value: number): string =>
  `${PREFIX}${name}${labels} ${value}\n`;

function labelsOf(names: readonly string[], values: string): string {
  if (names.length === 0) return "";
  const all = values.split(" ");
  return `{${names.map((name, at) => `${name}="${all[at] ?? ""}"`).join(",")}}`;
}
