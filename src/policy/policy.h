// SPDX-License-Identifier: Apache-2.0
// The policy: what the guest may do, from one or more layers of files, and the one function that
// decides. Pure and deterministic; nothing is allowed by omission.
//
//   PINHOLE_TRY(auto document, yaml::parse(text, "pinhole.yaml"));
//   PINHOLE_TRY(auto policy, Policy::compile({{LayerKind::user, std::move(document)}}));
//   Verdict verdict = policy.decide(Request::of(head));
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "http/address.h"
#include "http/host.h"
#include "http/request.h"
#include "http/url.h"
#include "policy/limits.h"
#include "policy/secret_spec.h"
#include "yaml/yaml.h"

namespace pinhole::policy {

/// Who speaks. Denies of any layer hold; allows add up; of limits the smallest counts. `internal:`,
/// `ca:`, `secrets:`, `resolver:` and `upstream_proxy:` are for the user and the session alone.
enum class LayerKind { organisation, user, project, session };

struct Layer {
  LayerKind kind = LayerKind::project;
  yaml::Document document;
  /// Top-level keys of the file that belong to another reader (pinhole.yaml also describes the VM).
  std::vector<std::string> foreign_keys = {};
};

/// The top-level keys that belong to the policy: what the VM description's reader leaves alone.
std::span<const std::string_view> top_level_keys();

enum class Way {
  request,  ///< method, scheme, path are known
  connect,  ///< only host and port are; what is inside stays unseen
};

struct Request {
  Way way = Way::request;
  std::string method;
  http::Scheme scheme = http::Scheme::https;
  http::Host host;
  std::uint16_t port = 443;
  std::string path = "/";  ///< normalised
  /// Methods that headers name in place of `method`: all of them must be allowed too.
  std::vector<std::string> other_methods = {};

  static Request of(const http::RequestHead& head);
  static Request of(std::string method, const http::Url& url);
  static Request connect(http::Host host, std::uint16_t port);
  /// "GET https://api.example.com/v1" (no query), "CONNECT example.com:443".
  [[nodiscard]] std::string text() const;
};

enum class Action { allow, deny };

/// What becomes of an allowed CONNECT (of an allowed request it is always inspect).
enum class Handling {
  inspect,  ///< TLS is intercepted, plain HTTP read; each request inside is decided anew
  tunnel,   ///< TLS passes untouched; its server name must be the host (`tls: tunnel`)
  raw,      ///< bytes pass unseen (`tcp://`)
};

struct Verdict {
  Action action = Action::deny;
  Handling handling = Handling::inspect;
  /// "pinhole.yaml:17", "builtin:…", or "default" where no rule spoke.
  std::string rule = "default";
  /// One line for people: "host api.example.com is allowed only for GET /v1/models
  /// (pinhole.yaml:12)".
  std::string reason;
  /// Of an allowed request; `rule` is what its counters are kept by.
  RuleLimits limits;
  /// The only secrets that may be put into this request; nothing where the rule does not say.
  std::optional<std::vector<std::string>> secrets = std::nullopt;
  /// Of a CONNECT to inspect: a rule allows the whole host and no deny is narrower, so that no
  /// https request inside could be refused.
  bool whole_host = false;

  [[nodiscard]] bool allowed() const { return action == Action::allow; }
};

/// A rule that fits a request, whether or not it decided.
struct MatchingRule {
  std::string rule;
  std::string_view list;  ///< "allow", "deny", "ceiling"
  bool operator==(const MatchingRule&) const = default;
};

/// A rule that the program itself adds, in front of all others: GET http://host:port/prefix…,
/// carried to `address`. For the door's own self-test.
struct Builtin {
  std::string id;  ///< "builtin:canary"
  std::string host;
  std::uint16_t port = 80;
  std::string path_prefix = "/";  ///< whole segments; "/canary/" allows everything below
  http::Endpoint address;
};

/// How the audit is kept. Each value is stronger than the one before it; of several layers the
/// strongest counts, so that no file can ask for less than another one wants.
struct AuditSettings {
  enum class Bodies { size, digest };
  enum class Sync { off, batch, each };
  Bodies bodies = Bodies::size;
  Sync sync = Sync::off;
  bool operator==(const AuditSettings&) const = default;
};

/// `upstream_proxy: http://host:port`. It resolves the names itself, so that no address can be
/// checked: only rules that spell the host exactly can allow anything.
struct UpstreamProxy {
  http::Host host;
  std::uint16_t port = 0;
  bool operator==(const UpstreamProxy&) const = default;
};

struct Tables;

inline constexpr std::uint16_t kSshPort = 22;
inline constexpr std::uint16_t kHttpPort = 80;
inline constexpr std::uint16_t kHttpsPort = 443;
/// Programs come to these, whatever a policy says of them.
inline constexpr std::uint16_t kAlwaysPorts[] = {kSshPort, kHttpPort, kHttpsPort};

/// An immutable, compiled policy; cheap to copy (shared). Deciding takes time by the labels of the
/// host and the segments of the path, not by the number of rules.
class Policy {
 public:
  /// No layers: everything is denied. Errors point into the file; see docs of the grammar in
  /// rule.h.
  static Result<Policy> compile(std::vector<Layer> layers, std::vector<Builtin> builtins = {});
  /// Denies everything.
  Policy();

  /// deny > allow > deny by default. `steps`, where given, is increased by one per table lookup.
  [[nodiscard]] Verdict decide(const Request& request, std::size_t* steps = nullptr) const;

  /// Every rule that fits the request, in the order deny, allow, ceiling and of the files; of a
  /// CONNECT, those that speak about its host and port. For people: it looks at every rule.
  [[nodiscard]] std::vector<MatchingRule> matching_rules(const Request& request) const;

  /// Whether any request to host:port could be allowed. If not, its name is never resolved.
  [[nodiscard]] bool may_resolve(const http::Host& host, std::uint16_t port) const;

  /// Beyond this many a policy's ports are left out.
  static constexpr std::size_t kMostPorts = 256;
  /// Where something listens in a guest whose connections are captured, ascending: each port that a
  /// rule allows anything on, and kAlwaysPorts, so that a refusal there can be read. A port that
  /// only denies speak of needs nobody.
  [[nodiscard]] const std::vector<std::uint16_t>& ports() const;

  /// HTTP is spoken on it, over TLS or plain: 80, 443, and what a rule about requests names where
  /// none means bytes.
  [[nodiscard]] bool is_web_port(std::uint16_t port) const;

  /// Where `internal:` (or a builtin) sends host:port; the one way to an address that is not
  /// public.
  [[nodiscard]] std::optional<http::Endpoint> internal_address(const http::Host& host,
                                                               std::uint16_t port) const;
  /// PEM file with the CA to verify this host with, in addition to the host's trust store.
  [[nodiscard]] std::optional<std::string> ca_file(const http::Host& host) const;
  /// All of them, each once.
  [[nodiscard]] std::vector<std::string> ca_files() const;

  /// In the order of their names. The sources are for whoever reads the values, not for the door.
  [[nodiscard]] const std::vector<SecretSpec>& secrets() const;
  /// Whether the secret's hosts name this one. False for a name that no layer defines.
  [[nodiscard]] bool secret_may_go(std::string_view name, const http::Host& host) const;

  /// `resolver:`: the name servers to ask instead of the host's; empty where nothing is said.
  [[nodiscard]] const std::vector<http::Endpoint>& resolver_servers() const;
  [[nodiscard]] const std::optional<UpstreamProxy>& upstream_proxy() const;
  [[nodiscard]] const AuditSettings& audit() const;

  [[nodiscard]] const Limits& limits() const;
  /// Lower-case names of header fields whose values never reach the audit.
  [[nodiscard]] const std::vector<std::string>& redacted_headers() const;
  /// "sha256:…" over all that the files and their presets say, whatever its layout and comments;
  /// builtins are the program's own and not part of it.
  [[nodiscard]] const std::string& hash() const;
  /// All that it says, a line each, without file names: two policies that say the same have the same
  /// lines, and what differs between two can be shown. Foreign text in them is not printable() yet.
  [[nodiscard]] std::vector<std::string> statements() const;
  /// Things that are allowed but worth saying aloud: `"*" allows every public host`.
  [[nodiscard]] const std::vector<std::string>& warnings() const;

 private:
  std::shared_ptr<const Tables> tables_;
};

}  // namespace pinhole::policy
