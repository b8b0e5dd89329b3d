/** All rules over one history: whole sentences, each with the number of its rule; none where all promises are kept. */
import { conservationProblems } from "./conservation.ts";
import { deliveryProblems } from "./deliveries.ts";
import { filterProblems } from "./filters.ts";
import type { Final } from "./final.ts";
import type { History } from "./history.ts";
import { livenessProblems } from "./liveness.ts";
import { orderProblems } from "./order.ts";
import { pauseProblems } from "./pauses.ts";
import { queueProblems } from "./queue.ts";
import { recallProblems } from "./recalls.ts";
import { repeatProblems } from "./repeats.ts";
import { reservationProblems } from "./reservations.ts";
import { transactionProblems } from "./transactions.ts";

export const judge = (history: History, final: Final): string[] => [
  ...history.problems,
  ...queueProblems(history, final),
  ...transactionProblems(history, final),
  ...deliveryProblems(history, final),
  ...recallProblems(history, final),
  ...reservationProblems(history, final),
  ...repeatProblems(history, final),
  ...pauseProblems(history),
  ...filterProblems(history),
  ...orderProblems(history, final),
  ...conservationProblems(history, final),
  ...livenessProblems(history, final),
];
