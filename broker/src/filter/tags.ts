/** RocketMQ's short form: `*`, or tags with `||` between them. */
import { LIMITS } from "@escrowmq/protocol";
import { refuse } from "./refusal.ts";

/** What is no plain tag, so that an expression without its `sql:` is refused, and not a tag that nobody has. */
const ODD = /[\s|*()<>=,'"\p{Cc}]/u;

const utf8 = new TextEncoder();

/** The tags that match; null: everything does, with a tag or without. */
export function parseTags(text: string): ReadonlySet<string> | null {
  if (text.trim() === "*") return null;
  const tags = new Set<string>();
  let at = 0;
  for (const part of text.split("||")) {
    tags.add(parseTag(text, part, at));
    at += part.length + 2;
  }
  return tags;
}

function parseTag(text: string, part: string, at: number): string {
  const tag = part.trim();
  const begin = at + part.length - part.trimStart().length;
  if (tag === "") refuse(text, begin, "a tag is expected; * alone stands for all messages");
  const odd = tag.search(ODD);
  if (odd >= 0)
    refuse(text, begin + odd, "no tag of a list has this; write an expression: sql: TAGS = '…'");
  if (utf8.encode(tag).length > LIMITS.tagBytesMax)
    refuse(text, begin, `no tag is longer than ${LIMITS.tagBytesMax} bytes`);
  return tag;
}
