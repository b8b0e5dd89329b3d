/** The URL of a check-back endpoint: what an operator may set. Refusals never repeat the URL: it may hold a secret. */
import { isIP } from "node:net";
import { EscrowError } from "@escrowmq/protocol";
import type { AddressGuard } from "./address-guard.ts";

const URL_CHARACTERS_MAX = 2_048;

/**
 * Throws ENDPOINT_REFUSED. `URL` turns every notation of an IPv4 address into dotted decimals, so a
 * literal is judged here; a name is judged when it is resolved, and then the same rules hold again.
 */
export function parseEndpointUrl(text: string, guard: AddressGuard, mayBePlain: boolean): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.href.length > URL_CHARACTERS_MAX)
    throw refused("An endpoint is an absolute URL of at most 2048 characters.");
  if (url.protocol !== "https:" && url.protocol !== "http:")
    throw refused("An endpoint is an https URL.");
  if (url.username !== "" || url.password !== "")
    throw refused("An endpoint's URL holds no user and no password.");
  // `url.hash` is empty for a lone "#", too.
  if (url.href.includes("#")) throw refused("An endpoint's URL holds no fragment.");
  const isPlain = url.protocol === "http:";
  if (isPlain && !mayBePlain)
    throw refused("Plain http is for ranges that the broker's configuration permits.");
  const literal = hostOf(url);
  if (isIP(literal) !== 0 && !isAdmitted(guard, literal, isPlain))
    throw refused("The endpoint's address is not in a range that the broker may call.");
  return url;
}

/** The host without the brackets of an IPv6 literal. */
export const hostOf = (url: URL): string => url.hostname.replace(/^\[(.*)\]$/, "$1");

/** Plain http goes to named ranges only: on the way to a public address anybody could answer. */
export function isAdmitted(guard: AddressGuard, address: string, isPlain: boolean): boolean {
  const admittance = guard.admits(address);
  return isPlain ? admittance === "named" : admittance !== "refused";
}

const refused = (text: string): EscrowError => new EscrowError("ENDPOINT_REFUSED", text);
