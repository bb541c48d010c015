// SPDX-License-Identifier: Apache-2.0
#include "pep/resolver.h"

#include <ares.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

namespace pinhole::pep {
namespace {

std::filesystem::file_time_type time_of(const std::filesystem::path& file) {
  std::error_code ignored;
  return std::filesystem::last_write_time(file, ignored);
}

std::optional<http::IpAddress> to_address(const ares_addrinfo_node& node) {
  http::IpAddress address;
  if (node.ai_family == AF_INET) {
    std::memcpy(address.bytes.data(), &reinterpret_cast<const sockaddr_in*>(node.ai_addr)->sin_addr,
                4);
    return address;
  }
  if (node.ai_family == AF_INET6) {
    address.is_v6 = true;
    std::memcpy(address.bytes.data(),
                &reinterpret_cast<const sockaddr_in6*>(node.ai_addr)->sin6_addr, 16);
    return address;
  }
  return std::nullopt;
}

Error dns_error(const std::string& name, std::string_view why) {
  return {.message = fmt::format("cannot resolve {}: {}", name, why), .code = "dns_error"};
}

}  // namespace

/// One question on its way. The waiting coroutine and c-ares each hold it; either may be done
/// first.
struct Resolver::Lookup {
  explicit Lookup(asio::io_context& context, std::chrono::milliseconds limit)
      : answered(context, limit) {}
  asio::steady_timer answered;  // cancelled by the answer, expires as the deadline
  bool done = false;
  int status = ARES_SUCCESS;
  Addresses addresses;
  int ttl = 0;  // seconds; the shortest of all

  static void on_answer(void* argument, int status, int /*timeouts*/, ares_addrinfo* info) {
    const std::unique_ptr<std::shared_ptr<Lookup>> held(
        static_cast<std::shared_ptr<Lookup>*>(argument));
    Lookup& lookup = **held;
    lookup.done = true;
    lookup.status = status;
    if (info != nullptr) {
      lookup.take(*info);
      ares_freeaddrinfo(info);
    }
    lookup.answered.cancel();
  }

  void take(const ares_addrinfo& info) {
    ttl = info.nodes == nullptr ? 0 : info.nodes->ai_ttl;
    for (const auto* node = info.nodes; node != nullptr; node = node->ai_next) {
      const auto address = to_address(*node);
      if (address && std::ranges::find(addresses, *address) == addresses.end())
        addresses.push_back(*address);
      ttl = std::min(ttl, node->ai_ttl);
    }
  }
};

Resolver::Resolver(asio::io_context& context, Settings settings)
    : context_(context), settings_(std::move(settings)), timer_(context) {
  ares_library_init(ARES_LIB_INIT_ALL);
}

Resolver::~Resolver() {
  *alive_ = false;
  close_channel();
  ares_library_cleanup();
}

Result<void> Resolver::open_channel() {
  const auto changed = time_of(settings_.configuration);
  if (channel_ != nullptr && (changed == configuration_time_ || running_ > 0)) return {};
  close_channel();
  configuration_time_ = changed;
  ares_options options = {};
  options.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES;
  options.timeout = 1500;  // milliseconds a try
  options.tries = 2;
  options.domains = nullptr;
  options.ndomains = 0;
  char lookups[] = "fb";  // files, then DNS
  options.lookups = lookups;
  std::string configuration = settings_.configuration.string();
  options.resolvconf_path = configuration.data();
  options.sock_state_cb = [](void* self, int fd, int read, int write) {
    static_cast<Resolver*>(self)->watch(fd, read != 0, write != 0);
  };
  options.sock_state_cb_data = this;
  const int status =
      ares_init_options(&channel_, &options,
                        ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_DOMAINS |
                            ARES_OPT_LOOKUPS | ARES_OPT_RESOLVCONF | ARES_OPT_SOCK_STATE_CB);
  if (status != ARES_SUCCESS) {
    channel_ = nullptr;
    return fail("cannot start the resolver: {}", ares_strerror(status));
  }
  if (!settings_.servers.empty() &&
      ares_set_servers_ports_csv(channel_, settings_.servers.c_str()) != ARES_SUCCESS) {
    close_channel();
    return fail("cannot use the name servers {}", settings_.servers);
  }
  return {};
}

void Resolver::close_channel() {
  if (channel_ != nullptr) ares_destroy(std::exchange(channel_, nullptr));
  watches_.clear();
}

void Resolver::watch(int fd, bool read, bool write) {
  const auto found = watches_.find(fd);
  if (!read && !write) {  // c-ares is about to close it
    if (found == watches_.end()) return;
    found->second->stop();
    watches_.erase(found);
    return;
  }
  auto& watch = found != watches_.end() ? found->second : watches_[fd];
  if (!watch) {
    watch = std::make_shared<FdWatch>(context_, fd, [this](int ready_fd, Ready ready) {
      process(ready == Ready::write ? ARES_SOCKET_BAD : ready_fd,
              ready == Ready::read ? ARES_SOCKET_BAD : ready_fd);
    });
  }
  watch->want(read, write);
}

void Resolver::process(int read_fd, int write_fd) {
  if (channel_ == nullptr) return;
  ares_process_fd(channel_, read_fd, write_fd);
  set_timer();
}

void Resolver::set_timer() {
  timeval room = {};
  if (timer_armed_ || ares_timeout(channel_, nullptr, &room) == nullptr) return;
  timer_armed_ = true;
  timer_.expires_after(std::chrono::seconds(room.tv_sec) +
                       std::chrono::microseconds(room.tv_usec + 1000));
  timer_.async_wait([this, alive = alive_](error_code) {
    if (!*alive) return;
    timer_armed_ = false;
    process(ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  });
}

const Addresses* Resolver::find_cached(const std::string& name) {
  const auto found = cache_.find(name);
  if (found == cache_.end()) return nullptr;
  if (found->second.until > std::chrono::steady_clock::now()) return &found->second.addresses;
  cache_.erase(found);
  return nullptr;
}

void Resolver::remember(const std::string& name, const Lookup& lookup) {
  if (lookup.ttl <= 0) return;
  if (cache_.size() >= settings_.cached_names)
    cache_.clear();  // rare, and cheaper than keeping an order
  const auto time = std::min(settings_.cached_for, std::chrono::seconds(lookup.ttl));
  cache_[name] = {.addresses = lookup.addresses, .until = std::chrono::steady_clock::now() + time};
}

asio::awaitable<Result<Addresses>> Resolver::resolve(std::string name) {
  if (const Addresses* cached = find_cached(name)) co_return *cached;
  if (running_ >= settings_.lookups_at_once) {
    co_return fail(dns_error(name, fmt::format("more than {} lookups are running", running_)));
  }
  if (auto opened = open_channel(); !opened)
    co_return fail(dns_error(name, opened.error().message));

  const auto lookup = std::make_shared<Lookup>(context_, settings_.lookup);
  ares_addrinfo_hints hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = ARES_AI_NOSORT;  // sorting would open sockets to each address
  ++running_;
  ares_getaddrinfo(channel_, name.c_str(), nullptr, &hints, &Lookup::on_answer,
                   new std::shared_ptr<Lookup>(lookup));
  set_timer();
  while (!lookup->done && lookup->answered.expiry() > std::chrono::steady_clock::now()) {
    [[maybe_unused]] auto [error] = co_await lookup->answered.async_wait(as_result);
  }
  --running_;

  if (!lookup->done || lookup->status == ARES_ETIMEOUT) {
    co_return fail(
        {.message = fmt::format("no answer for the name {} in time", name), .code = "timeout"});
  }
  if (lookup->status != ARES_SUCCESS)
    co_return fail(dns_error(name, ares_strerror(lookup->status)));
  if (lookup->addresses.empty()) co_return fail(dns_error(name, "it has no address"));
  if (lookup->addresses.size() > settings_.answers) {
    co_return fail(
        dns_error(name, fmt::format("it has more than {} addresses", settings_.answers)));
  }
  remember(name, *lookup);
  co_return std::move(lookup->addresses);
}

}  // namespace pinhole::pep
