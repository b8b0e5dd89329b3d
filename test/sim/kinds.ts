/**
 * What messages are like, by key, tag and headers, and which of them groups want, and in which order. Of chances
 * of its own: in a world without all that everything is as it was.
 */
import { instanceGroup } from "@escrowmq/protocol";
import type { SaidMessage, Wants } from "../history/history.ts";
import type { Random } from "./random.ts";
import { REFERENCE_FILTERS, REFERENCE_HEADERS } from "./reference-filters.ts";

/** A group that is broadcast to, and who may read as it. */
export const BROADCAST = "cache";
export const INSTANCES = ["n1", "n2", "n3"] as const;

/** As what readers of a group are known to operators, and to the history. */
export const readersOf = (group: string): readonly string[] =>
  group === BROADCAST ? INSTANCES.map((instance) => instanceGroup(group, instance)) : [group];

export type Kind = Pick<SaidMessage, "key" | "tag" | "headers">;

export const withHeaders = (kind: Kind, headers: Kind["headers"]): Kind =>
  headers === undefined ? kind : { ...kind, headers: { ...kind.headers, ...headers } };

export interface GroupFilter {
  readonly text: string;
  /** The same, said in another language. */
  readonly wants: Wants;
}

const sizeOf = ({ headers }: SaidMessage): number => Number(headers?.size ?? Number.NaN);

const FILTERS: readonly GroupFilter[] = [
  { text: "red", wants: ({ tag }) => tag === "red" },
  { text: "red || blue", wants: ({ tag }) => tag === "red" || tag === "blue" },
  { text: "green", wants: () => false },
  { text: "sql: size > 2", wants: (message) => sizeOf(message) > 2 },
  {
    text: "sql: size BETWEEN 2 AND 4 AND NOT TAGS = 'red'",
    wants: (message) =>
      sizeOf(message) >= 2 &&
      sizeOf(message) <= 4 &&
      message.tag !== undefined &&
      message.tag !== "red",
  },
  {
    text: "sql: TAGS IS NULL OR colour LIKE 'b%'",
    wants: ({ tag, headers }) => tag === undefined || headers?.colour?.startsWith("b") === true,
  },
];

/** `sometimes`: an operator changes it now and then. */
type Order = "never" | "always" | "sometimes";

export class Kinds {
  readonly #random: Random;
  readonly #isOn: boolean;
  readonly #filters = new Map<string, readonly GroupFilter[]>();
  readonly #orders = new Map<string, Order>();

  constructor(random: Random, groups: readonly string[]) {
    this.#random = random;
    this.#isOn = random.chance(0.6);
    if (!this.#isOn) return;
    for (const group of groups) {
      const count = random.pick([0, 0, 0, 1, 1, 1, 1, 2]);
      this.#filters.set(
        group,
        Array.from({ length: count }, () =>
          random.pick(random.chance(0.5) ? FILTERS : REFERENCE_FILTERS),
        ),
      );
      this.#orders.set(group, random.weighted({ never: 5, always: 4, sometimes: 1 }));
    }
  }

  next(): Kind {
    if (!this.#isOn) return {};
    const random = this.#random;
    const key = random.chance(0.8) ? random.pick(["ann", "bob", "eve"]) : undefined;
    const tag = random.chance(0.8) ? random.pick(["red", "blue", "yellow"]) : undefined;
    const headers = {
      ...(random.chance(0.5) ? random.pick(REFERENCE_HEADERS) : {}),
      ...(random.chance(0.7) ? { size: String(random.between(1, 5)) } : {}),
      ...(random.chance(0.5) ? { colour: random.pick(["blue", "brown", "red"]) } : {}),
    };
    return { key, tag, headers };
  }

  /** Messages have keys. */
  get hasKeys(): boolean {
    return this.#isOn;
  }

  filtersOf(group: string): readonly GroupFilter[] {
    return this.#filters.get(group) ?? [];
  }

  /** What a consumer of the group subscribes with now: of two filters one or the other, as it happens. */
  filterNow(group: string): string | undefined {
    const filters = this.filtersOf(group);
    if (filters.length === 0) return undefined;
    return filters.length === 1 ? filters[0]?.text : this.#random.pick(filters).text;
  }

  orderOf(group: string): Order {
    return this.#orders.get(group) ?? "never";
  }

  /** What an operator makes of the order of a group now. */
  orderNow(group: string): boolean | undefined {
    return this.orderOf(group) === "sometimes" ? this.#random.chance(0.5) : undefined;
  }
}
