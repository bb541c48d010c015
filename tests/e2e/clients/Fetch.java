// SPDX-License-Identifier: Apache-2.0
// Java's own HttpClient.   java -Djavax.net.ssl.trustStore=… Fetch.java ORIGIN DENIED PLACEHOLDER PROXY_HOST PROXY_PORT
// Prints one line of JSON per cell.
import java.io.IOException;
import java.io.InputStream;
import java.io.SequenceInputStream;
import java.io.ByteArrayInputStream;
import java.net.InetSocketAddress;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.List;

public class Fetch {
  interface Cell {
    String run() throws Exception;
  }

  static HttpClient client;
  static String origin;

  static String quoted(String text) {
    StringBuilder out = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      out.append(c < 0x20 || c == '"' || c == '\\' || c > 0x7E ? String.format("\\u%04x", (int) c) : String.valueOf(c));
    }
    return out.append('"').toString();
  }

  static String told(HttpResponse<String> answer) {
    return String.format("\"status\": %d, \"protocol\": %s, \"body\": %s", answer.statusCode(), quoted(answer.version().toString()),
        quoted(answer.body()));
  }

  static HttpRequest.Builder to(String url) {
    return HttpRequest.newBuilder(URI.create(url));
  }

  static String get(String url, String... header) throws Exception {
    HttpRequest.Builder request = to(url);
    if (header.length > 0) request.headers(header);
    return told(client.send(request.build(), BodyHandlers.ofString()));
  }

  static String big() throws Exception {
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    try (InputStream body = client.send(to(origin + "/big").build(), BodyHandlers.ofInputStream()).body()) {
      byte[] part = new byte[1 << 16];
      for (int got = body.read(part); got >= 0; got = body.read(part)) digest.update(part, 0, got);
    }
    return "\"sha256\": " + quoted(HexFormat.of().formatHex(digest.digest()));
  }

  static String events() throws Exception {
    List<String> lines = new ArrayList<>();
    Iterator<String> all = client.send(to(origin + "/events/java").build(), BodyHandlers.ofLines()).body().iterator();
    while (all.hasNext()) {
      String line = all.next();
      if (line.isEmpty()) continue;
      lines.add(quoted(line));
      if (lines.size() == 1) get(origin + "/release/java");
    }
    return "\"lines\": [" + String.join(", ", lines) + "]";
  }

  /** The second part, once the origin has the first; nothing of it is there before. */
  static class Second extends InputStream {
    private InputStream bytes;

    @Override
    public int read() throws IOException {
      byte[] one = new byte[1];
      return read(one, 0, 1) < 0 ? -1 : one[0];
    }

    @Override
    public int read(byte[] into, int at, int length) throws IOException {
      if (bytes == null) {
        try {
          get(origin + "/arrived/java");
        } catch (Exception error) {
          throw new IOException(error);
        }
        bytes = new ByteArrayInputStream("second\n".getBytes());
      }
      return bytes.read(into, at, length);
    }
  }

  static String upload() throws Exception {
    InputStream parts = new SequenceInputStream(new ByteArrayInputStream("first\n".getBytes()), new Second());
    HttpRequest request = to(origin + "/upload/java").POST(BodyPublishers.ofInputStream(() -> parts)).build();
    return told(client.send(request, BodyHandlers.ofString()));
  }

  static void cell(String name, Cell cell) {
    String told;
    try {
      told = cell.run();
    } catch (Exception error) {
      told = "\"error\": " + quoted(error.toString());
    }
    System.out.println("{\"cell\": " + quoted(name) + ", " + told + "}");
  }

  public static void main(String[] words) {
    origin = words[0];
    HttpClient.Builder builder = HttpClient.newBuilder();
    int port = Integer.parseInt(words[4]);  // 0: no proxy
    if (port > 0) builder.proxy(ProxySelector.of(new InetSocketAddress(words[3], port)));
    client = builder.build();
    cell("allowed", () -> get(origin + "/hello"));
    cell("denied host", () -> get(words[1]));
    cell("denied path", () -> get(origin + "/forbidden/x"));
    cell("swapped", () -> get(origin + "/echo", "Authorization", "Bearer " + words[2]));
    cell("misplaced", () -> get(origin + "/echo", "X-Other", words[2]));
    cell("big", Fetch::big);
    cell("events", Fetch::events);
    cell("upload", Fetch::upload);
    System.exit(0);
  }
}
