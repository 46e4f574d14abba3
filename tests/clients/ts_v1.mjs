// The TypeScript SDK, version 1: ts_v1.mjs URL. It speaks the legacy era alone.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { auth, extractWWWAuthenticateParams, UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { MemoryProvider, serve } from './common.mjs';

const url = new URL(process.argv[2]);
const provider = await new MemoryProvider().listen();
// What the last 403 asked for; the SDK's error does not say.
let challenge;
const noting = async (...request) => {
  const response = await fetch(...request);
  if (response.status === 403) challenge = extractWWWAuthenticateParams(response);
  return response;
};
await serve({
  name: 'typescript-v1',
  provider,
  open: () => ({
    client: new Client({ name: 'gatehouse-test', version: '1' }),
    transport: new StreamableHTTPClientTransport(url, { authProvider: provider, fetch: noting }),
  }),
  unauthorized: (error) => error instanceof UnauthorizedError,
  finish: (parameters) => [parameters.get('code')],
  protocol: (_, transport) => transport.protocolVersion,
  callTool: (client, call) => client.callTool(call),
  // As long as there is a refresh token the SDK uses that, which brings no scope.
  stepUp: async () => {
    provider.invalidateCredentials('tokens');
    const { scope, resourceMetadataUrl } = challenge;
    await auth(provider, { serverUrl: url, scope, resourceMetadataUrl });
  },
});
