// SPDX-License-Identifier: Apache-2.0
#include "cli/demo_origin.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "sys/files.h"
#include "sys/user.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;

Result<fs::path> tool(std::string_view name, std::string_view package) {
  if (auto found = sys::find_program(name)) return *std::move(found);
  return fail(Error{.message = fmt::format("the demo needs {} for its own origin servers", name),
                    .fix = fmt::format("sudo apt-get install {}", package)});
}

/// A port that nobody has at this moment; nginx says so if somebody was quicker.
Result<std::uint16_t> free_port() {
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (!socket || ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return fail("cannot find a free port on loopback: {}", errno_text(errno));
  }
  return ntohs(address.sin_port);
}

Result<void> openssl(const fs::path& program, const fs::path& folder,
                     std::vector<std::string> args) {
  PINHOLE_TRY(const auto output, sys::run({.program = program,
                                           .args = std::move(args),
                                           .environment = {{"PATH", "/usr/bin:/bin"}},
                                           .working_dir = folder},
                                          {.time = std::chrono::seconds(30)}));
  if (output.status.ok()) return {};
  return fail("openssl {}: {}", output.status.text(), trim(output.err));
}

Result<void> make_certificates(const fs::path& folder) {
  PINHOLE_TRY(const fs::path program, tool("openssl", "openssl"));
  PINHOLE_TRY_VOID(openssl(
      program, folder,
      {"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
       "2", "-subj", "/CN=Pinhole demo CA", "-keyout", "ca.key", "-out", "ca.pem"}));
  PINHOLE_TRY_VOID(openssl(program, folder,
                           {"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-subj", fmt::format("/CN={}", DemoOrigin::kHttpsName), "-keyout",
                            "server.key", "-out", "server.csr"}));
  PINHOLE_TRY_VOID(sys::write_file_atomic(
      folder / "ext", fmt::format("subjectAltName=DNS:{},DNS:{}\n", DemoOrigin::kHttpsName,
                                  DemoOrigin::kTunnelName)));
  return openssl(program, folder,
                 {"x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                  "-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", "server.pem"});
}

/// One process, so that nothing of it is left when it goes.
std::string nginx_conf(const fs::path& folder, std::uint16_t http, std::uint16_t https) {
  return fmt::format(
      "daemon off;\nmaster_process off;\npid {0}/nginx.pid;\nerror_log {0}/error.log;\n"
      "events {{}}\n"
      "http {{\n"
      "  access_log off;\n"
      "  client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3; "
      "uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5;\n"
      "  root {0}/www;\n"
      "  server {{ listen 127.0.0.1:{1}; }}\n"
      "  server {{ listen 127.0.0.1:{2} ssl; ssl_certificate {0}/server.pem; ssl_certificate_key "
      "{0}/server.key; }}\n"
      "}}\n",
      folder.string(), http, https);
}

bool listens(std::uint16_t port) {
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

}  // namespace

Result<DemoOrigin> DemoOrigin::start(const fs::path& folder) {
  PINHOLE_TRY(const fs::path program, tool("nginx", "nginx-light"));
  PINHOLE_TRY_VOID(make_certificates(folder));
  PINHOLE_TRY(const std::uint16_t http, free_port());
  PINHOLE_TRY(const std::uint16_t https, free_port());
  std::string content = "This came through the pinhole.\n";
  while (content.size() < (64 << 10)) content += sys::random_hex(32) + "\n";
  PINHOLE_TRY_VOID(sys::make_private_dir(folder / "www"));
  PINHOLE_TRY_VOID(sys::write_file_atomic(folder / "www/file.txt", content));
  PINHOLE_TRY_VOID(sys::write_file_atomic(folder / "nginx.conf", nginx_conf(folder, http, https)));
  PINHOLE_TRY(auto nginx,
              sys::spawn({.program = program,
                          .args = {"-p", folder.string(), "-c", (folder / "nginx.conf").string(),
                                   "-e", (folder / "error.log").string()},
                          .environment = {{"PATH", "/usr/bin:/bin"}},
                          .working_dir = folder}));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!listens(http) || !listens(https)) {
    if (nginx.wait_for(std::chrono::milliseconds(20)) ||
        std::chrono::steady_clock::now() > deadline) {
      const auto why = sys::read_file(folder / "error.log", 1 << 16);
      return fail(Error{.message = "the demo's nginx did not start",
                        .details = {why ? *why : std::string("it said nothing")}});
    }
  }
  return DemoOrigin(std::move(nginx), folder / "ca.pem", http, https, sha256_hex(content),
                    content.size());
}

std::string DemoOrigin::policy() const {
  return fmt::format(
      "version: 1\n"
      "egress:\n"
      "  allow:\n"
      "    - GET http://{0}/file.txt\n"
      "    - GET https://{1}/file.txt\n"
      "    - {{host: {5}, tls: tunnel}}\n"
      "    - http://localhost              # resolves to loopback and has no internal: line\n"
      "    - http://169.254.169.254        # the metadata address\n"
      "internal:\n"
      "  - {0}:80 -> 127.0.0.1:{2}\n"
      "  - {1}:443 -> 127.0.0.1:{3}\n"
      "  - {5}:443 -> 127.0.0.1:{3}\n"
      "ca:\n"
      "  {1}: {4}\n",
      kHttpName, kHttpsName, http_, https_, ca_.string(), kTunnelName);
}

}  // namespace pinhole::cli
