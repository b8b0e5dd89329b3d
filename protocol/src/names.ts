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

/** Between a group and the name of one of its instances: no name may hold it. */
const INSTANCE_MARK = "%";

/** The group by which an instance of `group` reads. */
export const instanceGroup = (group: string, instance: string): string =>
  `${group}${INSTANCE_MARK}${instance}`;

export const isName = (text: string): boolean =>
  text.length <= LIMITS.nameCharactersMax && NAME.test(text);

/** A group, or an instance of one: `group%instance`. */
export const isReaderName = (text: string): boolean => {
  const at = text.indexOf(INSTANCE_MARK);
  return at < 0 ? isName(text) : isName(text.slice(0, at)) && isName(text.slice(at + 1));
};

/** A topic that exists may be a dead-letter topic; one that a user creates or sends to may not. */
export const isTopicName = (text: string): boolean =>
  isName(isDeadLetterTopic(text) ? text.slice(DEAD_LETTER_PREFIX.length) : text);

const CONTROL = /\p{Cc}/u;

/** A key is an identifier: it stands in tables and logs. */
export const isKey = (text: string): boolean => text !== "" && !CONTROL.test(text);

/** As filters can say it: `a || b`. */
export const isTag = (text: string): boolean =>
  isKey(text) && !text.includes("|") && text.trim() === text;

/** Where a reply goes, and what it answers: set by `request`, and handed on with the other headers. */
export const INBOX_HEADER = "escrowmq-inbox";
export const CORRELATION_HEADER = "escrowmq-correlation";
const RESERVED_HEADERS = "escrowmq-";

// Setting `__proto__` would set no header but lose it silently; the pre-scan refuses it on the wire, too.
export const isHeaderName = (text: string): boolean =>
  isKey(text) &&
  text !== "__proto__" &&
  (!text.startsWith(RESERVED_HEADERS) || text === INBOX_HEADER || text === CORRELATION_HEADER);

/** Message ids: 1 to 64 of `A-Z a-z 0-9 _ -`. */
export const isMessageId = (text: string): boolean =>
  text.length <= LIMITS.idCharactersMax && ID.test(text);

/** Transaction ids: 22 characters of base64url hold 128 bits, so nothing shorter can be unguessable. */
export const isTransactionId = (text: string): boolean => text.length >= 22 && isMessageId(text);
