/**
 * What teams write by hand: an outbox table in the application's PostgreSQL, a relay that reads it,
 * publishes to RabbitMQ and deletes what was confirmed. "Sent" is what was committed to the table.
 */
import pg from "pg";
import { paused } from "../clock.mjs";
import { LocalDatabase, POOL_SIZE, settings } from "../local-database.mjs";
import {
  connect,
  published,
  setUp as setUpBroker,
  tearDown as tearDownBroker,
} from "./rabbitmq.mjs";

export { openConsumer } from "./rabbitmq.mjs";

const RELAY_ROWS = 500;
/** How often the relay looks into an empty table. */
const POLL_MS = 5;

export async function setUp(place) {
  await setUpBroker(place);
  const pool = poolOf(place);
  await pool.query("drop table if exists outbox");
  await pool.query(
    "create table outbox (id bigint generated always as identity primary key, topic text not null, body bytea not null)",
  );
  await pool.end();
}

export const tearDown = tearDownBroker;

const poolOf = ({ addresses }) =>
  new pg.Pool({ ...settings(addresses.postgresql), max: POOL_SIZE });

const INSERT = {
  name: "insert",
  text: "insert into outbox (topic, body) select $1, unnest($2::bytea[])",
};

export async function openProducer(place) {
  const { operation, messages } = place.scenario;
  const insert = (client, topic, body) =>
    client.query({ ...INSERT, values: [topic, Array(messages).fill(body)] });
  if (operation === "transact-postgres") return await around(place, insert);
  const pool = poolOf(place);
  return {
    operate: (topic, body) => insert(pool, topic, body),
    close: () => pool.end(),
  };
}

/** The messages commit with the application's own row. */
async function around({ addresses }, insert) {
  const database = await LocalDatabase.open(addresses.postgresql);
  return {
    operate: (topic, body) =>
      database.placeOrder(crypto.randomUUID(), (client) => insert(client, topic, body)),
    close: () => database.close(),
  };
}

export async function openRelay(place, onFault) {
  const connection = await connect(place);
  const channel = await connection.createConfirmChannel();
  const client = new pg.Client(settings(place.addresses.postgresql));
  await client.connect();
  let isOpen = true;
  async function relay() {
    while (isOpen) if ((await relayOnce(client, channel)) === 0) await paused(POLL_MS);
  }
  const ended = relay().catch(onFault);
  return {
    async close() {
      isOpen = false;
      await ended;
      await connection.close();
      await client.end();
    },
  };
}

/** One batch; what was published is deleted after the broker's confirms, so a crash repeats it. */
async function relayOnce(client, channel) {
  const { rows } = await client.query({
    name: "read",
    text: `select id, topic, body from outbox order by id limit ${RELAY_ROWS}`,
  });
  if (rows.length === 0) return 0;
  await Promise.all(rows.map(({ topic, body }) => published(channel, topic, body)));
  await client.query({
    name: "delete",
    text: "delete from outbox where id = any($1::bigint[])",
    values: [rows.map(({ id }) => id)],
  });
  return rows.length;
}
