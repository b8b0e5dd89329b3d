/** A stand-in, until the filter language is merged. */
import { EscrowError } from "@escrowmq/protocol";

export interface MessageHead {
  readonly id: string;
  readonly topic: string;
  readonly key?: string;
  readonly tag?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Filter {
  readonly text: string;
  matches(head: MessageHead): boolean;
}

export function parseFilter(text: string): Filter {
  if (text.startsWith("sql:")) {
    const [, name = "", value] = /^sql:\s*(\w+) = '(.*)'$/.exec(text) ?? [];
    if (value === undefined)
      throw new EscrowError("FILTER_INVALID", undefined, { detail: { position: 4, reason: "?" } });
    return { text, matches: ({ headers }) => headers?.[name] === value };
  }
  const tags = new Set(text.split("||").map((tag) => tag.trim()));
  return { text, matches: ({ tag }) => tags.has("*") || (tag !== undefined && tags.has(tag)) };
}
