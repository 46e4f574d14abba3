// What the TypeScript clients share: a loopback callback server, the user's browser, and the line protocol with the
// suites. Lines on stdin are {"tool", "arguments"}; every line on stdout is one JSON object.
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

export function say(object) {
  process.stdout.write(JSON.stringify(object) + '\n');
}

// A provider as an SDK's users write it: everything in memory, the redirect taken by a loopback server.
export class MemoryProvider {
  #server;
  // The newest sign-in, what came of it, and who waits for that. A stream that is opened again in the background begins
  // sign-ins, too; the verifier is the newest one's, so an older one's code is of no use.
  #state;
  #parameters;
  #arrived = () => {};
  signIns = 0;

  async listen() {
    this.#server = createServer((request, response) => {
      const url = new URL(request.url, this.redirectUrl);
      if (url.pathname !== '/callback') {
        response.writeHead(404).end();
        return;
      }
      response.writeHead(200, { 'content-type': 'text/html' }).end('<p>Signed in. You may close this window.</p>');
      if (url.searchParams.get('state') !== this.#state) return;
      this.#parameters = url.searchParams;
      this.#arrived();
    });
    await new Promise((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.redirectUrl = `http://localhost:${this.#server.address().port}/callback`;
    return this;
  }

  async callback() {
    while (!this.#parameters) await new Promise((resolve) => (this.#arrived = resolve));
    const parameters = this.#parameters;
    this.#parameters = undefined;
    return parameters;
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  get clientMetadata() {
    return {
      client_name: 'TypeScript SDK',
      redirect_uris: [this.redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: process.env.AUTH_METHOD ?? 'none',
    };
  }

  // The SDK's name for the address of a client's document; nothing: it registers.
  get clientMetadataUrl() {
    return process.env.CLIENT_METADATA_URL;
  }

  state() {
    return crypto.randomUUID();
  }
  clientInformation() {
    return this.client;
  }
  saveClientInformation(client) {
    this.client = client;
  }
  tokens() {
    return this.saved;
  }
  saveTokens(tokens) {
    this.saved = tokens;
  }
  saveCodeVerifier(verifier) {
    this.verifier = verifier;
  }
  codeVerifier() {
    return this.verifier;
  }
  saveDiscoveryState(state) {
    this.discovery = state;
  }
  discoveryState() {
    return this.discovery;
  }
  invalidateCredentials(scope) {
    if (scope === 'all' || scope === 'client') this.client = undefined;
    if (scope === 'all' || scope === 'tokens') this.saved = undefined;
  }

  redirectToAuthorization(url) {
    this.signIns += 1;
    this.#state = url.searchParams.get('state');
    this.#parameters = undefined;
    const browser = spawn(process.env.BROWSER, [url.href], { stdio: ['ignore', 2, 2] });
    browser.on('error', (error) => {
      console.error(error);
      process.exit(1);
    });
    browser.on('exit', (code) => {
      if (code !== 0) {
        console.error(`the browser ended with ${code}`);
        process.exit(1);
      }
    });
  }
}

export async function commands(handle) {
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      say(await handle(JSON.parse(line)));
    } catch (error) {
      say({ error: String(error?.message ?? error) });
    }
  }
}

// Serves the suite. `open` makes a new client on a new transport; `finish` turns a callback's parameters into the
// arguments of `finishAuth`. A step that meets the 401 signs the user in and is tried once more, as hosts do. `stepUp`
// sends the user to the browser for the scopes of the last 403, where the SDK leaves that to its host.
export async function serve({ name, provider, open, unauthorized, finish, protocol, callTool, stepUp }) {
  let transport;
  let client;
  const signedIn = async (step) => {
    try {
      return await step();
    } catch (error) {
      if (!unauthorized(error)) throw error;
      await transport.finishAuth(...finish(await provider.callback()));
      return await step();
    }
  };
  await signedIn(async () => {
    ({ client, transport } = open());
    await client.connect(transport);
  });
  const { tools } = await signedIn(() => client.listTools());
  say({ client: name, protocol: protocol(client, transport), tools: tools.map((tool) => tool.name) });
  await commands(async ({ tool, arguments: input = {}, stepUp: asked }) => {
    if (asked) {
      await stepUp();
      await transport.finishAuth(...finish(await provider.callback()));
      return { signIns: provider.signIns };
    }
    const result = await signedIn(() => callTool(client, { name: tool, arguments: input }));
    const text = result.content?.[0]?.text;
    return { text, isError: result.isError ?? false, signIns: provider.signIns };
  });
  await client.close();
  provider.close();
}
