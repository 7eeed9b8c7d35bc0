#include "viz/explore/worker.h"

#include <exception>
#include <utility>

namespace espalier::viz {

Worker::Worker(std::function<void()> notify)
    : notify_(std::move(notify)), thread_([this](const std::stop_token& stop) { run(stop); }) {}

Worker::~Worker() {
  thread_.request_stop();
  asked_.notify_all();
}

void Worker::ask(const Settings& settings, const Given& given) {
  {
    const std::scoped_lock lock(mutex_);
    question_ = Question{settings, given};
  }
  asked_.notify_one();
}

std::shared_ptr<const Outcome> Worker::take() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(answer_, nullptr);
}

bool Worker::busy() const {
  const std::scoped_lock lock(mutex_);
  return working_ || question_.has_value() || answer_ != nullptr;
}

/// False when something newer is wanted.
bool Worker::hand_out(std::shared_ptr<const Outcome> outcome) {
  {
    const std::scoped_lock lock(mutex_);
    if (question_) return false;
    answer_ = std::move(outcome);
  }
  notify_();
  return true;
}

void Worker::run(const std::stop_token& stop) {
  while (true) {
    Question question;
    {
      std::unique_lock lock(mutex_);
      working_ = false;
      if (!asked_.wait(lock, stop, [&] { return question_.has_value(); })) return;
      question = std::move(*question_);
      question_.reset();
      working_ = true;
    }
    auto quick = std::make_shared<Outcome>(compute(question.settings, question.given));
    if (!hand_out(quick) || stop.stop_requested()) continue;
    std::shared_ptr<Outcome> whole;
    try {
      whole = std::make_shared<Outcome>(*quick);
      add_sensitivities(*whole);
    } catch (const std::exception&) {
      continue;  // the quick outcome stands
    }
    if (!hand_out(whole) || stop.stop_requested() || !question.settings.rank) continue;
    auto ranked = std::make_shared<Outcome>(*whole);
    add_ranking(*ranked, question.given, [&] {
      const std::scoped_lock lock(mutex_);
      return question_.has_value() || stop.stop_requested();
    });
    hand_out(std::move(ranked));
  }
}

}  // namespace espalier::viz
