/** Names that people choose: topics, groups, ids. Never part of a file path, never made into a RegExp. */
import { LIMITS } from "./limits.ts";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const ID = /^[A-Za-z0-9_-]+$/;

/** RocketMQ's name for the topic that holds what a group could not process. Made by the broker only. */
export const DEAD_LETTER_PREFIX = "%DLQ%";

export const deadLetterTopic = (group: string): string => DEAD_LETTER_PREFIX + group;

/** The group whose dead letters a dead-letter topic holds. */
export const groupOfDeadLetters = (topic: string): string => topic.slice(DEAD_LETTER_PREFIX.length);

export const isDeadLetterTopic = (topic: string): boolean => topic.startsWith(DEAD_LETTER_PREFIX);

export const isName = (text: string): boolean =>
  text.length <= LIMITS.nameCharactersMax && NAME.test(text);

/** A topic that exists may be a dead-letter topic; one that a user creates or sends to may not. */
export const isTopicName = (text: string): boolean =>
  isName(isDeadLetterTopic(text) ? text.slice(DEAD_LETTER_PREFIX.length) : text);

/** Message ids: 1 to 64 of `A-Z a-z 0-9 _ -`. */
export const isMessageId = (text: string): boolean =>
  text.length <= LIMITS.idCharactersMax && ID.test(text);

/** Transaction ids: 22 characters of base64url hold 128 bits, so nothing shorter can be unguessable. */
export const isTransactionId = (text: string): boolean => text.length >= 22 && isMessageId(text);
