// SPDX-License-Identifier: Apache-2.0
// An origin that speaks TLS, for tests: a Python script with a certificate by an authority of its own.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sys/files.h"
#include "sys/process.h"

namespace pinhole::pep::testing {

/// Runs `openssl` or another program to its end; a failure fails the test.
void run_tool(const std::string& program, std::vector<std::string> args);

/// A script for TlsOrigin out of `handler`, the text of a Python class Handler of http.server.
std::string https_server(std::string_view handler);

/// Known as origin.test. The script gets a folder with leaf.pem and leaf.key as its argument,
/// listens on loopback and prints its port.
class TlsOrigin {
 public:
  explicit TlsOrigin(std::string_view script);
  ~TlsOrigin();
  TlsOrigin(const TlsOrigin&) = delete;
  TlsOrigin& operator=(const TlsOrigin&) = delete;

  [[nodiscard]] const std::string& port() const { return port_; }
  [[nodiscard]] std::filesystem::path ca_file() const { return folder_.path() / "ca.pem"; }
  /// A policy that allows everything at origin.test and other.test, both led to this origin;
  /// `more` is added at its end.
  [[nodiscard]] std::string policy(std::string_view more) const;
  /// The same, and the origin's authority is trusted for both.
  [[nodiscard]] std::string trusting_policy(std::string_view more = "") const;

 private:
  sys::TempDir folder_ = sys::TempDir::make().value();
  std::optional<sys::Process> process_;
  std::string port_;
};

}  // namespace pinhole::pep::testing
