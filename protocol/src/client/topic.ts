/**
 * Typed topics: a name and the codec of its bodies. On the wire and on disk a body is bytes.
 */
import { EscrowError } from "../errors.ts";

/** Bodies <-> bytes. Either function may throw: the body does not fit the topic. */
export interface Codec<T> {
  encode(body: T): Uint8Array;
  decode(data: Uint8Array): T;
}

/** A topic whose bodies have a type. Made by `topic()`. */
export interface Topic<T> {
  readonly name: string;
  readonly codec: Codec<T>;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** UTF-8 text; bytes that are none do not decode. */
export const text: Codec<string> = {
  encode: (body) => encoder.encode(body),
  decode: (data) => decoder.decode(data),
};

/** Bytes as they are. */
export const bytes: Codec<Uint8Array> = {
  encode: (body) => {
    if (body instanceof Uint8Array) return body;
    throw new TypeError("The body is not a Uint8Array.");
  },
  decode: (data) => data,
};

function jsonOf<T>(): Codec<T> {
  return {
    encode: (body) => {
      const json: string | undefined = JSON.stringify(body);
      if (json === undefined) throw new TypeError("The body has no JSON form.");
      return encoder.encode(json);
    },
    decode: (data): T => JSON.parse(decoder.decode(data)),
  };
}

/** JSON as UTF-8 text. */
export const json: Codec<unknown> = jsonOf();

/**
 * A typed topic. Without a codec, bodies are JSON and `T` is what the caller says it is; a codec of
 * one's own can check it, and what it does not decode goes to the dead-letter topic.
 */
export function topic<T>(name: string, codec: Codec<T> = jsonOf<T>()): Topic<T> {
  return { name, codec };
}

/** Throws ENCODE_FAILED. By a topic's mere name, bytes stay bytes and all else becomes JSON. */
export function encodeBody<T>(to: string | Topic<T>, body: T): Uint8Array {
  try {
    if (typeof to !== "string") return to.codec.encode(body);
    return body instanceof Uint8Array ? body : json.encode(body);
  } catch (cause) {
    throw new EscrowError("ENCODE_FAILED", undefined, { cause });
  }
}

export const topicNameOf = (of: string | Topic<unknown>): string =>
  typeof of === "string" ? of : of.name;
