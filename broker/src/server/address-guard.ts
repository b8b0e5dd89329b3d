/**
 * Which addresses the broker may call. An operator chooses check-back endpoints, and whoever holds
 * that right, or a name server on the way, must not thereby reach the inner network.
 *
 * Invariants
 * - G1 What is not public is refused, unless a range named on the host permits it.
 * - G2 Link-local, multicast and the addresses of cloud metadata are refused whatever the ranges say.
 * - G3 An IPv4 address inside an IPv6 one (mapped, NAT64, 6to4, compatible) is judged as the IPv4 address, too.
 * - G4 Text that is no address is refused: nothing is let through because it was not understood.
 */
import { BlockList, isIP, isIPv4 } from "node:net";
import { EscrowError } from "@escrowmq/protocol";

/** `named`: only because a range of the operator holds it. */
export type Admittance = "public" | "named" | "refused";

export interface AddressGuard {
  readonly admits: (address: string) => Admittance;
}

const NEVER = [
  "169.254.0.0/16",
  "224.0.0.0/4",
  "255.255.255.255/32",
  "fe80::/10",
  "ff00::/8",
  // Cloud metadata outside link-local: Alibaba, Oracle, AWS over IPv6.
  "100.100.100.200/32",
  "192.0.0.192/32",
  "fd00:ec2::254/128",
];

/** The registries of special-purpose addresses of IANA. Of IPv6 only 2000::/3 is public at all. */
const NOT_PUBLIC = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "240.0.0.0/4",
  // Unspecified, loopback, mapped, compatible, NAT64 (64:ff9b::/96 and 64:ff9b:1::/48), discard.
  "::/3",
  // Unassigned, unique-local, site-local.
  "4000::/2",
  "8000::/1",
  // Teredo and other protocol assignments, documentation, 6to4.
  "2001::/23",
  "2001:db8::/32",
  "2002::/16",
  "3fff::/20",
];

/** Throws INVALID_ARGUMENT for a range that is not CIDR notation. */
export function createAddressGuard(allowedRanges: readonly string[]): AddressGuard {
  const named = rangesOf(allowedRanges);
  let known: KnownRanges | null = null;

  function admitsOne(address: string): Admittance {
    // Made when first asked for: most brokers call nobody, and it takes as long as a part of their start.
    known ??= { never: rangesOf(NEVER), notPublic: rangesOf(NOT_PUBLIC) };
    if (known.never(address)) return "refused";
    if (named(address)) return "named";
    return known.notPublic(address) ? "refused" : "public";
  }

  function admits(address: string): Admittance {
    if (isIP(address) === 0 || address.includes("%")) return "refused";
    if (isIPv4(address)) return admitsOne(address);
    const words = wordsOf(address);
    const mapped = isMapped(words);
    if (mapped !== null) return admitsOne(mapped);
    const outer = admitsOne(address);
    const inner = innerIPv4(words);
    // A translator's range may be named; what it translates to must be admitted for itself.
    return inner === null || admitsOne(inner) !== "refused" ? outer : "refused";
  }

  return { admits };
}

type Ranges = (address: string) => boolean;

interface KnownRanges {
  readonly never: Ranges;
  readonly notPublic: Ranges;
}

/** One list for each family: `net.BlockList` would match an IPv4 address with an IPv6 range that holds its mapped form. */
function rangesOf(ranges: readonly string[]): Ranges {
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() };
  for (const range of ranges) {
    const [, address = "", bits = ""] = /^([0-9a-fA-F.:]+)\/(\d{1,3})$/.exec(range) ?? [];
    const version = isIP(address);
    const prefix = Number(bits);
    if (version === 0 || prefix > (version === 4 ? 32 : 128) || isMappedText(address, version))
      throw new EscrowError(
        "INVALID_ARGUMENT",
        "An allowed range is an IPv4 or IPv6 network in CIDR notation, such as 10.1.0.0/16.",
      );
    const family = version === 4 ? "ipv4" : "ipv6";
    lists[family].addSubnet(address, prefix, family);
  }
  return (address) => {
    const family = isIPv4(address) ? "ipv4" : "ipv6";
    return lists[family].check(address, family);
  };
}

/** Mapped addresses are judged as IPv4, so a mapped range would silently permit nothing. */
const isMappedText = (address: string, version: number): boolean =>
  version === 6 && isMapped(wordsOf(address)) !== null;

/** The eight 16-bit words of an IPv6 address. `URL` writes every notation of one in the same way. */
function wordsOf(address: string): number[] {
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = "", tail] = canonical.split("::");
  const words = (text: string) =>
    text === "" ? [] : text.split(":").map((word) => Number.parseInt(word, 16));
  const [front, back] = [words(head), words(tail ?? "")];
  return [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
}

const isMapped = (words: readonly number[]): string | null =>
  words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff ? dotted(words, 6) : null;

/** What a translator on the way would make of it: NAT64, 6to4, IPv4-compatible. */
function innerIPv4(words: readonly number[]): string | null {
  if (words[0] === 0x2002) return dotted(words, 1);
  if (words[0] === 0x64 && words[1] === 0xff9b) return dotted(words, 6);
  const isCompatible =
    words.slice(0, 6).every((word) => word === 0) && (words[6] !== 0 || (words[7] ?? 0) > 1);
  return isCompatible ? dotted(words, 6) : null;
}

function dotted(words: readonly number[], at: number): string {
  const [high = 0, low = 0] = words.slice(at, at + 2);
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}
