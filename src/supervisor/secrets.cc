// SPDX-License-Identifier: Apache-2.0
// Secrets pass through the supervisor to the PEP and are not kept. A PEP that was started again gets
// those that can be read again without the user: "file:" and "cmd:". For the others requests fail
// with secret_missing until the user gives them again.
#include <array>

#include <string.h>

#include <boost/json.hpp>

#include "base/printable.h"
#include "source/secret_source.h"
#include "supervisor/control.h"
#include "supervisor/supervisor.h"
#include "sys/unix_socket.h"

namespace pinhole::supervisor {
namespace {

namespace json = boost::json;
constexpr std::chrono::seconds kCommandLimit{20};
constexpr std::chrono::milliseconds kCommandEnds{200};  // after its output has ended

asio::awaitable<std::string> read_all(asio::posix::stream_descriptor* from) {
  std::string text;
  std::array<char, 4096> chunk;
  while (text.size() < source::kLongestSecretText) {
    const auto [error, n] = co_await from->async_read_some(asio::buffer(chunk), as_result);
    if (error) break;
    text.append(chunk.data(), n);
  }
  explicit_bzero(chunk.data(), chunk.size());
  co_return text;
}

/// As source::read_secret() does it, without making everything else wait.
asio::awaitable<Result<std::string>> run_command(asio::io_context* io,
                                                 source::SecretSource source) {
  auto pipe = sys::make_pipe();
  if (!pipe) co_return std::unexpected(pipe.error());
  sys::Command command = source::secret_command(source);
  command.descriptors = {{1, pipe->second.get()}};
  auto process = sys::spawn(command);
  if (!process) co_return std::unexpected(process.error());
  pipe->second.reset();
  asio::posix::stream_descriptor output(*io, pipe->first.release());
  auto text = co_await with_deadline(read_all(&output), kCommandLimit);
  if (!text) {
    co_return fail("the command for the secret {} took more than {} s", source.name,
                   kCommandLimit.count());
  }
  co_return source::secret_from_output(
      source, {.status = process->stop(kCommandEnds), .out = *std::move(text), .err = {}});
}

}  // namespace

asio::awaitable<void> Supervisor::give_secrets_again(std::shared_ptr<PepLink> pep) {
  // A reload may replace the plan's while we wait.
  const std::vector<source::SecretSource> secrets = plan_.secrets;
  for (const source::SecretSource& source : secrets) {
    if (source.from.starts_with("env:")) continue;  // only the user's shell knows
    Result<std::string> value;
    if (source::is_command(source)) {
      value = co_await run_command(&io_, source);
    } else {
      value = source::read_secret(source);
    }
    Result<json::object> taken;
    if (value) {
      taken = co_await pep->secrets(json::object{{source.name, *value}});
      explicit_bzero(value->data(), value->size());
    }
    if (value && taken) continue;
    status_->line(fmt::format("the PEP has no value for a secret again: {}",
                              printable(value ? taken.error().message : value.error().message)));
  }
}

asio::awaitable<json::object> Supervisor::pass_secrets(json::object request) {
  // The PEP is the first that starts; the machine may be starting still.
  if (policy_hash_.empty() || !pep_)
    co_return error_answer({.message = fmt::format("VM \"{}\" is still starting", plan_.name)});
  json::object values;
  if (json::value* given = request.if_contains("values"); given != nullptr && given->is_object())
    values = std::move(given->get_object());
  const std::shared_ptr<PepLink> pep = pep_;
  auto reply = co_await pep->secrets(std::move(values));
  if (!reply) co_return error_answer(reply.error());
  (*reply)["ok"] = true;
  co_return *std::move(reply);
}

}  // namespace pinhole::supervisor
