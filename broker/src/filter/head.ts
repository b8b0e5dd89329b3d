/** What a filter may look at: the head of a message. The body is never looked at. */

export interface MessageHead {
  readonly id: string;
  readonly topic: string;
  readonly key?: string;
  readonly tag?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A name in an expression: a header, or one of RocketMQ's two words for what is no header. */
export type Source =
  | { readonly kind: "header"; readonly name: string }
  | { readonly kind: "tag" }
  | { readonly kind: "key" };

const RESERVED: ReadonlyMap<string, Source> = new Map([
  ["TAGS", { kind: "tag" }],
  ["KEYS", { kind: "key" }],
]);

/** In double quotes every name is a header's, so that a header may be called `TAGS`, too. */
export const sourceOf = (name: string, isQuoted: boolean): Source =>
  (isQuoted ? undefined : RESERVED.get(name)) ?? { kind: "header", name };

/** The text that stands there; undefined: the message has none. */
export function lookUp(source: Source, head: MessageHead): string | undefined {
  switch (source.kind) {
    case "header":
      return headerOf(head.headers, source.name);
    case "tag":
      return head.tag;
    case "key":
      return head.key;
    default:
      return source satisfies never;
  }
}

/** Every object has a `constructor`; only what the producer set is a header. */
const headerOf = (headers: MessageHead["headers"], name: string): string | undefined =>
  headers !== undefined && Object.hasOwn(headers, name) ? headers[name] : undefined;
