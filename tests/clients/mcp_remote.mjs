// mcp-remote as desktop hosts run it: mcp_remote.mjs URL starts it as a stdio server under the TypeScript SDK.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { commands, say } from './common.mjs';

const manifest = createRequire(import.meta.url).resolve('mcp-remote/package.json');
const { default: { bin } } = await import(manifest, { with: { type: 'json' } });
const document = process.env.CLIENT_METADATA_URL;
const transport = new StdioClientTransport({
  command: process.execPath,
  args: [
    join(dirname(manifest), bin['mcp-remote']),
    process.argv[2],
    '--protocol',
    process.env.PROTOCOL ?? 'auto',
    ...(document ? ['--client-metadata-url', document] : []),
  ],
  env: process.env,
  stderr: 'inherit',
});
const client = new Client({ name: 'gatehouse-test', version: '1' });
await client.connect(transport);
const { tools } = await client.listTools();
say({ client: 'mcp-remote', protocol: transport.protocolVersion ?? '', tools: tools.map((tool) => tool.name) });
await commands(async ({ tool, arguments: input = {} }) => {
  const result = await client.callTool({ name: tool, arguments: input });
  return { text: result.content?.[0]?.text, isError: result.isError ?? false, signIns: 0 };
});
await client.close();
