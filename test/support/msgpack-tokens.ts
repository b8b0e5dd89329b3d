/** Where each value of well-formed MessagePack begins and ends: for tests that put others in their place. */
export interface Token {
  readonly at: number;
  /** Behind the tag and the length, where there is one. */
  readonly bodyAt: number;
  /** Behind the value and all that is in it. */
  readonly end: number;
  readonly isKey: boolean;
}

/** Of every value in `bytes`, keys and containers included. */
export function tokensOf(bytes: Buffer): readonly Token[] {
  const tokens: Token[] = [];
  const read = (at: number, isKey: boolean): number => {
    const { bodyAt, size, children, isMap } = headOf(bytes, at);
    let end = bodyAt + size;
    for (let child = 0; child < children; child++) end = read(end, isMap && child % 2 === 0);
    tokens.push({ at, bodyAt, end, isKey });
    return end;
  };
  read(0, false);
  return tokens;
}

interface Head {
  readonly bodyAt: number;
  /** Bytes of a value that holds no others. */
  readonly size: number;
  readonly children: number;
  readonly isMap: boolean;
}

const SCALAR_BYTES: Readonly<Record<number, number>> = {
  202: 4,
  203: 8,
  204: 1,
  205: 2,
  206: 4,
  207: 8,
  208: 1,
  209: 2,
  210: 4,
  211: 8,
};

function headOf(bytes: Buffer, at: number): Head {
  const tag = bytes[at] ?? 0;
  const leaf = (lengthBytes: number, size: number): Head => ({
    bodyAt: at + 1 + lengthBytes,
    size,
    children: 0,
    isMap: false,
  });
  const array = (lengthBytes: number, children: number): Head => ({
    ...leaf(lengthBytes, 0),
    children,
  });
  const map = (lengthBytes: number, keys: number): Head => ({
    ...leaf(lengthBytes, 0),
    children: 2 * keys,
    isMap: true,
  });
  const length = (lengthBytes: number): number => bytes.readUIntBE(at + 1, lengthBytes);
  if (tag >= 0x80 && tag < 0x90) return map(0, tag & 15);
  if (tag >= 0x90 && tag < 0xa0) return array(0, tag & 15);
  if (tag >= 0xa0 && tag < 0xc0) return leaf(0, tag & 31);
  switch (tag) {
    case 0xc4:
    case 0xd9:
      return leaf(1, length(1));
    case 0xc5:
    case 0xda:
      return leaf(2, length(2));
    case 0xc6:
    case 0xdb:
      return leaf(4, length(4));
    case 0xdc:
      return array(2, length(2));
    case 0xdd:
      return array(4, length(4));
    case 0xde:
      return map(2, length(2));
    case 0xdf:
      return map(4, length(4));
    default:
      return leaf(0, SCALAR_BYTES[tag] ?? 0);
  }
}
