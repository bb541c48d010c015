// SPDX-License-Identifier: Apache-2.0
// Node with undici's ProxyAgent.   fetch.js ORIGIN DENIED PLACEHOLDER
// The proxy comes from https_proxy, the authority from NODE_EXTRA_CA_CERTS. Prints one line of JSON per cell.
'use strict';
const { createHash } = require('crypto');
const { Readable } = require('stream');
const { ProxyAgent, request, setGlobalDispatcher } = require('undici');

const [origin, denied, placeholder] = process.argv.slice(2);
if (process.env.https_proxy) setGlobalDispatcher(new ProxyAgent(process.env.https_proxy));

async function get(url, headers) {
  const { statusCode, body } = await request(url, { headers });
  return { status: statusCode, body: await body.text() };
}

async function big() {
  const { body } = await request(`${origin}/big`);
  const digest = createHash('sha256');
  for await (const part of body) digest.update(part);
  return { sha256: digest.digest('hex') };
}

async function events() {
  const { body } = await request(`${origin}/events/node`);
  const lines = [];
  for await (const part of body) {
    lines.push(...part.toString().split('\n').filter((line) => line !== ''));
    if (lines.length === 1) await get(`${origin}/release/node`);
  }
  return { lines };
}

async function upload() {
  async function* parts() {
    yield 'first\n';
    await get(`${origin}/arrived/node`);
    yield 'second\n';
  }
  const { statusCode, body } = await request(`${origin}/upload/node`, { method: 'POST', body: Readable.from(parts()) });
  return { status: statusCode, body: await body.text() };
}

const cells = {
  'allowed': () => get(`${origin}/hello`),
  'denied host': () => get(denied),
  'denied path': () => get(`${origin}/forbidden/x`),
  'swapped': () => get(`${origin}/echo`, { authorization: `Bearer ${placeholder}` }),
  'misplaced': () => get(`${origin}/echo`, { 'x-other': placeholder }),
  'big': big,
  'events': events,
  'upload': upload,
};

(async () => {
  for (const [cell, run] of Object.entries(cells)) {
    try {
      console.log(JSON.stringify({ cell, ...await run() }));
    } catch (error) {
      console.log(JSON.stringify({ cell, error: String(error) }));
    }
  }
  process.exit(0);
})();
