// SPDX-License-Identifier: Apache-2.0
#include "pep/program.h"

#include <unistd.h>

#include <csignal>
#include <optional>
#include <utility>

#include <boost/asio/signal_set.hpp>

#include "base/log.h"
#include "pep/canary.h"
#include "pep/control.h"
#include "pep/credentials.h"
#include "pep/door.h"
#include "pep/listener.h"
#include "pep/seal.h"
#include "pep/server.h"
#include "pep/standalone.h"
#include "sys/files.h"
#include "yaml/yaml.h"

namespace pinhole::pep {
namespace {

Result<policy::Policy> load_policy(const Options& options, const std::optional<Canary>& canary) {
  constexpr std::uint64_t kLongestPolicy = std::uint64_t{4} << 20;
  std::vector<policy::Layer> layers;
  for (const auto& [kind, path] : options.policies) {
    PINHOLE_TRY(const std::string text, sys::read_file(path, kLongestPolicy));
    // Rules are named after the file in answers to the guest, which has no business with our
    // folders.
    PINHOLE_TRY(yaml::Document document, yaml::parse(text, path.filename().string()));
    layers.push_back(
        {.kind = kind, .document = std::move(document), .foreign_keys = options.foreign_keys});
  }
  std::vector<policy::Builtin> builtins;
  if (canary) builtins.push_back(canary->rule());
  return policy::Policy::compile(std::move(layers), std::move(builtins));
}

/// The parts of the running process, in the order in which they start; the reverse is the order of
/// their end.
class Program {
 public:
  Program(asio::io_context& context, Door& door, std::optional<Canary> canary, Fd listener)
      : context_(context),
        door_(door),
        canary_(std::move(canary)),
        server_(door, std::move(listener)),
        signals_(context) {}

  Result<void> start(const Options& options) {
    if (options.control_fd) {
      PINHOLE_TRY(Fd socket, inherited(*options.control_fd));
      control_.emplace(door_, canary_ ? &*canary_ : nullptr, std::move(socket),
                       [this] { end("the supervisor is gone"); });
    }
    signals_.add(SIGTERM);
    signals_.add(SIGINT);
    signals_.async_wait([this](error_code error, int number) {
      if (!error) end(number == SIGINT ? "SIGINT" : "SIGTERM");
    });
    if (canary_) canary_->start();
    server_.start();
    if (control_) control_->start();
    return {};
  }

  [[nodiscard]] const Result<void>& sealed() const { return sealed_; }

 private:
  void end(std::string_view why) {
    if (std::exchange(ending_, true)) return;
    log(LogLevel::info, "ending: {}", why);
    asio::co_spawn(context_, finish(), asio::detached);
  }

  asio::awaitable<void> finish() {
    co_await server_.stop();
    sealed_ = door_.audit.seal();
    if (control_) control_->send_head();
    context_.stop();
  }

  asio::io_context& context_;
  Door& door_;
  std::optional<Canary> canary_;
  Server server_;
  std::optional<Control> control_;
  asio::signal_set signals_;
  bool ending_ = false;
  Result<void> sealed_;
};

/// As the resolver wants them; none where the policy says nothing.
std::string servers_of(const policy::Policy& policy) {
  std::string text;
  for (const http::Endpoint& server : policy.resolver_servers()) {
    text += (text.empty() ? "" : ",") + http::to_string(server);
  }
  return text;
}

void say_what_holds(const Options& options, const policy::Policy& policy) {
  if (options.policies.empty()) log(LogLevel::warning, "no --policy: everything is denied");
  for (const auto& warning : policy.warnings()) log(LogLevel::warning, "{}", warning);
}

/// Without a supervisor nobody else gives the secrets' values.
Result<secret::Vault> prepare_vault(const Options& options, const policy::Policy& policy,
                                    std::string_view placeholder_seed) {
  PINHOLE_TRY(secret::Vault vault, make_vault(policy, placeholder_seed));
  if (vault.empty() && !policy.secrets().empty()) {
    log(LogLevel::warning,
        "the policy's secrets have no placeholders without --authority, and are not used");
  }
  if (!options.control_fd) read_values(vault);
  if (!options.placeholders.empty()) {
    PINHOLE_TRY_VOID(write_placeholders(vault, options.placeholders));
  }
  return vault;
}

/// The log is rotated only where the rest of the host's files is out of reach for sure.
Result<void> seal_program(const Options& options, AuditLog& audit) {
  if (audit.folder() >= 0) {
    const auto folder_of = [](const std::filesystem::path& path) {
      return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
    };
    const auto door =
        options.listen_path.empty() ? options.listen_path : folder_of(options.listen_path);
    PINHOLE_TRY(const bool confined, confine_writes(folder_of(options.audit), door));
    if (!confined) audit.stop_rotating();
  }
  if (audit.folder() < 0) log(LogLevel::info, "the audit log stays one file");
  return seal({.unlinks_door = !options.listen_path.empty(), .audit_folder = audit.folder()});
}

}  // namespace

Result<void> run_program(const Options& options) {
  if (!options.create_authority.empty())
    return create_credentials(options.create_authority, options.vm);
  std::signal(SIGPIPE, SIG_IGN);
  asio::io_context context(1);  // one thread: no locks inside
  std::optional<Canary> canary;
  if (options.canary) {
    PINHOLE_TRY(canary, Canary::open(context));
  }
  auto policy = load_policy(options, canary);
  if (!policy) {
    Error error = std::move(policy).error();
    error.exit_status = 2;
    return fail(std::move(error));
  }
  std::optional<ProxyToken> token;
  if (!options.token_file.empty()) {
    PINHOLE_TRY(token, ProxyToken::read(options.token_file));
  }
  std::optional<Credentials> credentials;
  if (!options.authority.empty()) {
    PINHOLE_TRY(credentials, load_credentials(options.authority));
  }
  std::string seed = credentials ? std::move(credentials->placeholder_seed) : "";
  PINHOLE_TRY(secret::Vault vault, prepare_vault(options, *policy, seed));
  PINHOLE_TRY(AuditLog audit, AuditLog::open(options.audit, {.vm = options.vm,
                                                             .boot = options.boot,
                                                             .image = options.image,
                                                             .policy = policy->hash()}));
  PINHOLE_TRY(Listener listener, open_listener(options));
  say_what_holds(options, *policy);
  // A log that cannot be written now may be writable later; until then every request is refused.
  if (auto started = audit.start(); !started) log(LogLevel::error, "{}", started.error().message);

  std::string servers = servers_of(*policy);
  Door door(context, *std::move(policy), std::move(audit), Times(),
            {.servers = std::move(servers), .configuration = options.resolv_conf});
  door.token = token;
  door.placeholder_seed = std::move(seed);
  door.vault = std::move(vault);
  if (credentials) door.tls_server.emplace(std::move(credentials->authority));
  // Without its past a rate gives more than it should: worth a word, no reason to stay shut.
  if (auto recalled = recall_budgets(door.limiter, options.audit, std::chrono::system_clock::now());
      !recalled)
    log(LogLevel::warning, "rates start anew: {}", recalled.error().message);
  Program program(context, door, std::move(canary), std::move(listener.socket));
  auto outcome = program.start(options);
  if (outcome) outcome = seal_program(options, door.audit);
  if (outcome) {
    log(LogLevel::info, "ready on {}, policy {}", listener.place, door.policy.hash());
    context.run();
    outcome = program.sealed();
  }
  if (!options.listen_path.empty()) ::unlink(options.listen_path.c_str());
  return outcome;
}

}  // namespace pinhole::pep
