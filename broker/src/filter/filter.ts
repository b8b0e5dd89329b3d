/**
 * Which messages of a topic a group wants: the door of the filter language. PROTOCOL.md, "Filters", is normative.
 *
 * Invariants
 * - J3 `parseFilter` throws FILTER_INVALID and nothing else; a filter that it gave never throws.
 * - J4 What a filter may cost is bounded before anything is looked at: by its length, its depth, the number of its
 *   conditions. No text of a peer becomes code or a RegExp.
 */
/// <reference lib="es2024.string" />
import { LIMITS } from "@escrowmq/protocol";
import { judge, YES } from "./condition.ts";
import type { MessageHead } from "./head.ts";
import { parseExpression } from "./parser.ts";
import { refuse } from "./refusal.ts";
import { parseTags } from "./tags.ts";

export type { MessageHead } from "./head.ts";

export interface Filter {
  /** As it was given. */
  readonly text: string;
  matches(head: MessageHead): boolean;
}

const EXPRESSION = /^\s*sql:/i;

/** The filter that the text says. Throws FILTER_INVALID, with detail `position` and `reason`. */
export function parseFilter(text: string): Filter {
  checkText(text);
  const prefix = EXPRESSION.exec(text);
  return prefix === null ? tagFilter(text) : expressionFilter(text, prefix[0].length);
}

function checkText(text: string): void {
  const max = LIMITS.filterCharactersMax;
  const end =
    text.length <= max ? text.length : [...text.slice(0, max * 2)].slice(0, max).join("").length;
  if (text.length > end) refuse(text, end, `it is longer than ${max} characters`);
  if (!text.isWellFormed()) refuse(text, 0, "it holds half a character");
}

function expressionFilter(text: string, from: number): Filter {
  const condition = parseExpression(text, from);
  return { text, matches: (head) => judge(condition, head) === YES };
}

function tagFilter(text: string): Filter {
  const tags = parseTags(text);
  if (tags === null) return { text, matches: () => true };
  return { text, matches: ({ tag }) => tag !== undefined && tags.has(tag) };
}
