// SPDX-License-Identifier: Apache-2.0
#include "source/secret_source.h"

#include <unistd.h>

#include "sys/files.h"
#include "sys/user.h"

namespace pinhole::source {
namespace {

constexpr std::string_view kEnv = "env:";
constexpr std::string_view kFile = "file:";
constexpr std::string_view kCmd = "cmd:";

Result<std::string> checked(const SecretSource& source, std::string text) {
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  if (text.empty()) return fail("the secret {} is empty ({})", source.name, source.from);
  return text;
}

/// A command of the user's gets the user's environment: agents, sockets, displays.
std::map<std::string, std::string> whole_environment() {
  std::map<std::string, std::string> out;
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos)
      out.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return out;
}

}  // namespace

bool is_command(const SecretSource& source) { return source.from.starts_with(kCmd); }

sys::Command secret_command(const SecretSource& source) {
  return {.program = "/bin/sh",
          .args = {"-c", source.from.substr(kCmd.size())},
          .environment = whole_environment(),
          .may_gain_privileges = true};
}

Result<std::string> secret_from_output(const SecretSource& source, const sys::Output& output) {
  if (!output.status.ok()) {
    return fail("the command for the secret {} {} ({})", source.name, output.status.text(),
                source.from);
  }
  return checked(source, output.out);
}

Result<std::string> read_secret(const SecretSource& source) {
  const std::string_view from = source.from;
  if (from.starts_with(kEnv)) {
    const std::string name(from.substr(kEnv.size()));
    auto value = sys::env(name);
    if (!value) return fail("the variable {} for the secret {} is not set", name, source.name);
    return checked(source, *std::move(value));
  }
  if (from.starts_with(kFile)) {
    auto text = sys::read_file(from.substr(kFile.size()), kLongestSecretText);
    if (!text) {
      return fail(
          std::move(text).error().context(fmt::format("the file for the secret {}", source.name)));
    }
    return checked(source, *std::move(text));
  }
  if (is_command(source)) {
    auto output = sys::run(secret_command(source),
                           {.time = kSecretCommandLimit, .bytes = kLongestSecretText});
    if (!output) {
      return fail(std::move(output).error().context(
          fmt::format("the command for the secret {}", source.name)));
    }
    return secret_from_output(source, *output);
  }
  return fail("the secret {} has no source that this version knows", source.name);
}

}  // namespace pinhole::source
