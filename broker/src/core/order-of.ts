import { crc32 } from "node:zlib";

/** By what a message is ordered; it stands in records, so it is the same for ever. Without a key: by nothing. */
export const orderOf = (key: string | undefined): number =>
  key === undefined ? 0 : crc32(key) || 1;
