/** What worlds are like: which faults, how often, and how a broker is set up. */
import { DEFAULT_POLICY, type Policy } from "../../broker/src/core/policy.ts";
import type { Random } from "./random.ts";

const MINUTE = 60_000;

/** Each as likely as its weight says. */
export const FAULTS = {
  crash: 4,
  ambush: 5,
  cut: 10,
  halfOpen: 3,
  slow: 3,
  congest: 3,
  freeze: 2,
  jump: 1,
  failWrite: 2,
  fill: 2,
  flipBit: 1,
} as const;

/** Drawn as one, so that worlds without these features are what they were. */
function windowsOf(random: Random): Partial<Policy> {
  const other = random.fork();
  return {
    windowMessagesMax: other.pick([1, 3, 512]),
    windowBytesMax: other.pick([20, 1_048_576]),
    windowBlocksMax: other.pick([1, 64]),
    takenInMax: other.pick([1, 4, 100_000]),
    lookAgainMs: other.pick([1_000, MINUTE]),
    scheduledMax: other.chance(0.12) ? 12 : 1_000_000,
    duePerStepMax: other.pick([1, 1, 3, 1_024]),
    reservationsMax: other.pick([3, 100_000, 100_000, 100_000]),
  };
}

/** Small numbers, so that every limit is met. */
export function policyOf(random: Random): Policy {
  return {
    ...DEFAULT_POLICY,
    checkAfterMs: random.pick([1_000, 6_000]),
    checkIntervalMs: random.pick([2_000, 10_000, 30_000]),
    checkAttemptsMax: random.between(2, 5),
    checkAnswerWithinMs: random.pick([1_000, 10_000]),
    undecidedAgeMaxMs: random.pick([3 * MINUTE, 72 * 60 * MINUTE]),
    checksPerConnectionMax: random.pick([1, 2, 32]),
    checksPerEndpointMax: random.pick([1, 8]),
    checksTotalMax: random.pick([2, 512]),
    undecidedPerGroupMax: random.pick([8, 500]),
    sendsKeptMs: 24 * 60 * MINUTE,
    ...windowsOf(random),
    retentionEveryMs: random.pick([100, 1_000]),
    dropAfterStartMs: random.pick([0, 5_000, 60_000]),
    instanceKeptMs: random.pick([20_000, 5 * MINUTE, 72 * 60 * MINUTE]),
    instancesPerGroupMax: random.pick([2, 3, 1_000]),
    deliveriesPerStepMax: random.pick([1, 5, 2_048]),
    deliveryBytesPerStepMax: random.pick([20, 4_194_304]),
  };
}
