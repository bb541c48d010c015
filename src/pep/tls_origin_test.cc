// SPDX-License-Identifier: Apache-2.0
#include "pep/tls_origin.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/strings.h"
#include "sys/unix_socket.h"
#include "sys/user.h"

namespace pinhole::pep::testing {

void run_tool(const std::string& program, std::vector<std::string> args) {
  sys::Command command{.program = sys::find_program(program).value(), .args = std::move(args)};
  const auto output = sys::run(std::move(command), {.time = std::chrono::seconds(60)}).value();
  ASSERT_TRUE(output.status.ok()) << output.err;
}

std::string https_server(std::string_view handler) {
  return "import http.server, ssl, sys" + std::string(handler) + R"(
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/leaf.pem", sys.argv[1] + "/leaf.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
)";
}

TlsOrigin::TlsOrigin(std::string_view script) {
  const std::string dir = folder_.path().string();
  run_tool("openssl", {"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                       "-nodes", "-subj", "/CN=test ca", "-days", "3650", "-keyout",
                       dir + "/ca.key", "-out", dir + "/ca.pem"});
  run_tool("openssl", {"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                       "-subj", "/CN=origin.test", "-addext", "subjectAltName=DNS:origin.test",
                       "-keyout", dir + "/leaf.key", "-out", dir + "/leaf.csr"});
  run_tool("openssl", {"x509", "-req", "-in", dir + "/leaf.csr", "-CA", dir + "/ca.pem", "-CAkey",
                       dir + "/ca.key", "-CAcreateserial", "-days", "3650", "-copy_extensions",
                       "copy", "-out", dir + "/leaf.pem"});
  auto [from_origin, its_output] = sys::make_pipe().value();
  sys::Command origin{.program = "/usr/bin/python3",  // Debian's, with its packages
                      .args = {"-c", std::string(script), dir},
                      .descriptors = {{1, its_output.get()}}};
  process_ = sys::spawn(origin).value();
  its_output.reset();
  char port[16] = {};
  EXPECT_GT(::read(from_origin.get(), port, sizeof port - 1), 0);
  port_ = trim(port);
}

TlsOrigin::~TlsOrigin() {
  if (process_) process_->stop(std::chrono::seconds(2));
}

std::string TlsOrigin::policy(std::string_view more) const {
  return fmt::format(
      "version: 1\negress: {{allow: [origin.test, other.test]}}\n"
      "internal: [\"origin.test:443 -> 127.0.0.1:{0}\", \"other.test:443 -> 127.0.0.1:{0}\"]\n{1}",
      port_, more);
}

std::string TlsOrigin::trusting_policy(std::string_view more) const {
  return policy(
      fmt::format("ca: {{origin.test: {0}, other.test: {0}}}\n{1}", ca_file().string(), more));
}

}  // namespace pinhole::pep::testing
