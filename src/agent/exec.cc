// SPDX-License-Identifier: Apache-2.0
#include "agent/exec.h"

#include <sys/resource.h>

#include <array>
#include <string_view>
#include <utility>

#include "agent/environment.h"
#include "agent/program.h"
#include "base/printable.h"

namespace pinhole::agent {
namespace {

struct LimitName {
  std::string_view name;
  int resource;
};
/// As `docker run --ulimit` calls them.
constexpr std::array kLimitNames = {
    LimitName{"as", RLIMIT_AS},         LimitName{"core", RLIMIT_CORE},
    LimitName{"cpu", RLIMIT_CPU},       LimitName{"data", RLIMIT_DATA},
    LimitName{"fsize", RLIMIT_FSIZE},   LimitName{"memlock", RLIMIT_MEMLOCK},
    LimitName{"nofile", RLIMIT_NOFILE}, LimitName{"nproc", RLIMIT_NPROC},
    LimitName{"stack", RLIMIT_STACK},
};

Result<sys::ResourceLimit> limit_of(const wire::Limit& wanted) {
  for (const LimitName& known : kLimitNames) {
    if (known.name != wanted.name) continue;
    return sys::ResourceLimit{
        .resource = known.resource, .value = wanted.value, .name = wanted.name};
  }
  return fail(Error{.message = fmt::format("unknown limit \"{}\"", printable(wanted.name)),
                    .code = "bad_request"});
}

Result<sys::SessionCommand> command_of(const Settings& settings, wire::ExecRequest request) {
  Surroundings around = surroundings_of(settings.root, request.uid);
  sys::SessionCommand command{.argv = std::move(request.argv),
                              .env = merge_environment({std::move(around.env), request.env}),
                              .cwd = std::move(request.cwd),
                              .uid = request.uid,
                              .gid = request.gid,
                              .groups = std::move(around.groups)};
  for (const wire::Limit& wanted : request.limits) {
    PINHOLE_TRY(sys::ResourceLimit limit, limit_of(wanted));
    command.limits.push_back(std::move(limit));
  }
  if (request.terminal) {
    command.terminal = {.rows = request.terminal->rows, .columns = request.terminal->columns};
  }
  return command;
}

}  // namespace

wire::ErrorReply error_reply(const Error& error) {
  return {.code = error.code.empty() ? "failed" : error.code,
          .message = printable(error.message, wire::kDetailBytes - 4)};
}

asio::awaitable<std::optional<wire::Reply>> run_exec(std::shared_ptr<const Settings> settings,
                                                     std::shared_ptr<sys::Cgroups> cgroups,
                                                     std::shared_ptr<Connection> connection,
                                                     wire::ExecRequest request) {
  auto command = command_of(*settings, std::move(request));
  if (!command) co_return error_reply(command.error());
  const auto ended = co_await run_program(std::move(connection), std::move(*command),
                                          {.cgroups = std::move(cgroups)});
  if (!ended) co_return std::nullopt;
  if (!*ended) co_return error_reply(ended->error());
  co_return wire::ExecReply{.exit = (*ended)->how.exit, .signal = (*ended)->how.signal};
}

}  // namespace pinhole::agent
