/** What is remembered of decided transactions and of sends, in columns (see remembered.ts). */
import { Column, Words } from "./columns.ts";
import { invariant } from "./invariant.ts";
import type { DecidedBy } from "./records.ts";
import type { Columns } from "./remembered.ts";
import type { Decision } from "./transaction.ts";

const DECIDERS: readonly DecidedBy[] = ["producer", "check", "operator", "policy"];

interface SavedDecisions {
  /** Of these places' words those that no place before them has. */
  readonly words: readonly string[];
  readonly columns: readonly Uint8Array[];
}

export class DecisionColumns implements Columns<Decision> {
  readonly #words = new Words();
  readonly #groups = new Column(Uint32Array);
  readonly #whos = new Column(Uint32Array);
  readonly #digests = new Column(Uint32Array);
  readonly #atMs = new Column(Float64Array);
  readonly #preparedAtMs = new Column(Float64Array);
  readonly #preparedBlocks = new Column(Float64Array);
  readonly #decidedBlocks = new Column(Float64Array);
  /** How many words there are up to and with this place. */
  readonly #wordCounts = new Column(Uint32Array);
  /** Place in DECIDERS times 2, plus 1 for a commit. */
  readonly #kinds = new Column(Uint8Array);
  readonly #all = [
    this.#groups,
    this.#whos,
    this.#digests,
    this.#atMs,
    this.#preparedAtMs,
    this.#preparedBlocks,
    this.#decidedBlocks,
    this.#wordCounts,
    this.#kinds,
  ];

  add(decision: Decision): void {
    this.#groups.push(this.#words.numberOf(decision.group));
    this.#whos.push(this.#words.numberOf(decision.who));
    this.#digests.push(decision.digest);
    this.#atMs.push(decision.atMs);
    this.#preparedAtMs.push(decision.preparedAtMs);
    this.#preparedBlocks.push(decision.preparedBlock);
    this.#decidedBlocks.push(decision.decidedBlock);
    this.#wordCounts.push(this.#words.count);
    this.#kinds.push(DECIDERS.indexOf(decision.by) * 2 + (decision.state === "committed" ? 1 : 0));
  }

  get(place: number): Decision {
    const kind = this.#kinds.at(place);
    const by = DECIDERS[kind >> 1];
    invariant(by !== undefined, "a decision was made by somebody");
    return {
      state: (kind & 1) === 1 ? "committed" : "rolledBack",
      group: this.#words.of(this.#groups.at(place)),
      digest: this.#digests.at(place),
      by,
      who: this.#words.of(this.#whos.at(place)),
      atMs: this.#atMs.at(place),
      preparedAtMs: this.#preparedAtMs.at(place),
      preparedBlock: this.#preparedBlocks.at(place),
      decidedBlock: this.#decidedBlocks.at(place),
    };
  }

  save(from: number, to: number): SavedDecisions {
    const words = this.#words.slice(
      from === 0 ? 0 : this.#wordCounts.at(from - 1),
      to === 0 ? 0 : this.#wordCounts.at(to - 1),
    );
    return { words, columns: this.#all.map((column) => column.save(from, to)) };
  }

  load(saved: SavedDecisions): void {
    for (const word of saved.words) this.#words.numberOf(word);
    for (const [at, column] of this.#all.entries()) {
      const bytes = saved.columns[at];
      invariant(bytes !== undefined, "every column is saved");
      column.load(bytes);
    }
  }
}

/** Of sends only the digest is remembered. */
export class DigestColumns implements Columns<number> {
  readonly #digests = new Column(Uint32Array);

  add(digest: number): void {
    this.#digests.push(digest);
  }

  get(place: number): number {
    return this.#digests.at(place);
  }

  save(from: number, to: number): Uint8Array {
    return this.#digests.save(from, to);
  }

  load(saved: Uint8Array): void {
    this.#digests.load(saved);
  }
}
