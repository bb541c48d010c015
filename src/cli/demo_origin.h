// SPDX-License-Identifier: Apache-2.0
// The demo's own internet: nginx on loopback as this ordinary user, one name over HTTP and one over
// HTTPS with a certificate of a CA that exists for this run only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/error.h"
#include "sys/process.h"

namespace pinhole::cli {

class DemoOrigin {
 public:
  static Result<DemoOrigin> start(const std::filesystem::path& folder);

  /// A session policy under which exactly the demo's requests go out.
  [[nodiscard]] std::string policy() const;
  [[nodiscard]] const std::string& sha256() const { return sha256_; }
  [[nodiscard]] std::uint64_t size() const { return size_; }

  static constexpr const char* kHttpName = "http.demo.test";
  static constexpr const char* kHttpsName = "https.demo.test";
  static constexpr const char* kTunnelName =
      "tunnel.demo.test";  // TLS from end to end, not looked into

 private:
  DemoOrigin(sys::Process nginx, std::filesystem::path ca, std::uint16_t http, std::uint16_t https,
             std::string sha256, std::uint64_t size)
      : nginx_(std::move(nginx)),
        ca_(std::move(ca)),
        http_(http),
        https_(https),
        sha256_(std::move(sha256)),
        size_(size) {}
  sys::Process nginx_;
  std::filesystem::path ca_;
  std::uint16_t http_, https_;
  std::string sha256_;
  std::uint64_t size_;
};

}  // namespace pinhole::cli
