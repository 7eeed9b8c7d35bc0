// Computes outcomes on a thread of its own; only the settings asked for last matter.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "viz/explore/outcome.h"

namespace espalier::viz {

class Worker {
 public:
  /// `notify` is called on the worker's thread whenever an outcome is ready.
  explicit Worker(std::function<void()> notify);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Never waits. What was asked for before and hasn't begun is dropped; what has begun is finished, but not handed out
  /// if it is older.
  void ask(const Settings& settings, const Given& given);
  /// The newest outcome not taken yet: first without sensitivities, later with them. Null: none.
  std::shared_ptr<const Outcome> take();
  bool busy() const;

 private:
  struct Question {
    Settings settings;
    Given given;
  };
  void run(const std::stop_token& stop);
  bool hand_out(std::shared_ptr<const Outcome> outcome);
  std::function<void()> notify_;
  mutable std::mutex mutex_;
  std::condition_variable_any asked_;
  std::optional<Question> question_;
  std::shared_ptr<const Outcome> answer_;
  bool working_ = false;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace espalier::viz
