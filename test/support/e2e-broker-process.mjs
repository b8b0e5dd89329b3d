/** A broker in a process of its own, with the options that the only argument holds as JSON. */
import { createBroker } from "@escrowmq/broker";

const broker = await createBroker(JSON.parse(process.argv[2]));
process.stdout.write(`ready ${broker.url}\n`);

process.once("SIGTERM", async () => {
  await broker.close();
  process.exit(0);
});
const error = await broker.failed;
process.stderr.write(`failed ${error.message}\n`);
process.exit(75);
