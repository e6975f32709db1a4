#include "tools/workload/prompts.hpp"

#include "core/error.hpp"
#include "tools/workload/mentions.hpp"
#include "tools/workload/prompt_line.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace kvtape::workload {
namespace {

constexpr std::array<std::string_view, 7> line_keys = {
    "context", "question", "answer", "needles", "answer_prefix", "task", "questions"};
constexpr std::array<std::string_view, 4> question_keys = {
    "question", "answer", "needles", "answer_prefix"};
/// More sentences than this that mention an answer are no needle.
constexpr std::size_t most_mentions = 16;

/// Of answers one a line `is_right` wants all, of alternatives any.
constexpr std::string_view all_of = "\n";

std::string join(const std::vector<std::string>& answers, std::string_view by) {
    std::string text;
    for (const std::string& answer : answers) {
        if (!text.empty())
            text += by;
        text += answer;
    }
    return text;
}

/// The name of the line's task. In the tables `all` is all tasks together.
std::string task_of(const PromptLine& line, const char* standard) {
    if (!line.has("task"))
        return standard;
    std::string task = line.needed_text("task");
    if (task == "all")
        line.refuse("has the 'task' \"all\", which the tables use for all tasks together");
    return task;
}

/// A question of our own format, of `prompt`'s context.
WrittenPrompt with_question(WrittenPrompt prompt, const PromptLine& asked) {
    if (!asked.has("question"))
        asked.refuse("lacks 'question'");
    prompt.question = asked.text("question");
    prompt.answer = join(asked.texts("answer"), all_of);
    prompt.answer_prefix = asked.text("answer_prefix");
    const std::vector<TextRange> needles = asked.needles(prompt.context);
    prompt.needles.insert(prompt.needles.end(), needles.begin(), needles.end());
    return prompt;
}

std::vector<WrittenPrompt> read_own(const PromptLine& line) {
    line.expect_keys(line_keys);
    WrittenPrompt prompt;
    prompt.context = line.needed_text("context");
    prompt.task = task_of(line, "prompts");
    if (!line.has("questions"))
        return {with_question(prompt, line)};
    for (const char* key : {"question", "answer", "answer_prefix"})
        if (line.has(key))
            line.refuse("has both 'questions' and '" + std::string(key) +
                        "'; put it into an entry of 'questions'");
    prompt.needles = line.needles(prompt.context);
    std::vector<WrittenPrompt> prompts;
    for (const PromptLine& asked : line.objects("questions")) {
        asked.expect_keys(question_keys);
        prompts.push_back(with_question(prompt, asked));
    }
    return prompts;
}

/// RULER writes task text and question as one `input`: the question is its last line that is not
/// blank, with what follows it.
void split_input(const PromptLine& line, const std::string& input, WrittenPrompt& prompt) {
    const std::size_t last = input.find_last_not_of(" \t\r\n");
    const std::size_t feed = last == std::string::npos ? last : input.rfind('\n', last);
    const std::size_t end =
        feed == std::string::npos ? feed : input.find_last_not_of(" \t\r\n", feed);
    if (end == std::string::npos)
        line.refuse(
            "has an 'input' of one line; its last line must be the question, after the "
            "context");
    prompt.context = input.substr(0, end + 1);
    prompt.joint = input.substr(end + 1, feed - end);
    prompt.question = input.substr(feed + 1);
}

std::vector<WrittenPrompt> read_ruler(const PromptLine& line) {
    WrittenPrompt prompt;
    prompt.task = task_of(line, "ruler");
    if (line.has("input")) {
        split_input(line, line.needed_text("input"), prompt);
    } else {
        prompt.context = line.needed_text("context");
        prompt.question = line.needed_text("question");
        prompt.joint.push_back('\n');
    }
    prompt.answer_prefix = line.text("answer_prefix");
    const char* const key = line.has("outputs") ? "outputs" : "answer";
    if (!line.has(key))
        line.refuse("lacks 'outputs' (or 'answer')");
    const std::vector<std::string> answers = line.texts(key);
    const bool alternatives = prompt.task.substr(0, 2) == "qa";
    prompt.answer = join(answers, alternatives ? alternative : all_of);
    prompt.needles = line.has("needles")
                         ? line.needles(prompt.context)
                         : sentences_that_mention(prompt.context, answers, most_mentions);
    return {prompt};
}

/// The words of a question, but the first, that begin with a capital letter or have at least four
/// letters.
std::vector<std::string> telling_words(std::string_view question) {
    std::vector<std::string> words;
    std::string word;
    const auto end_word = [&] {
        if (word.size() >= 4 || (!word.empty() && word.front() <= 'Z'))
            words.push_back(word);
        word.clear();
    };
    question.remove_prefix(std::min(question.find(' '), question.size()));
    for (const char c : question) {
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
            word += c;
        else
            end_word();
    }
    end_word();
    return words;
}

/// The sentences that mention the answer and what is asked; where there are none, those that
/// mention the answer.
std::vector<TextRange> facts_behind(const WrittenPrompt& prompt) {
    const std::vector<std::string> answer = {prompt.answer};
    const std::vector<std::string> asked = telling_words(prompt.question);
    const std::vector<TextRange> all =
        sentences_that_mention(prompt.context, answer, prompt.context.size());
    std::vector<TextRange> both;
    for (const TextRange sentence : all) {
        const std::string_view text =
            std::string_view(prompt.context).substr(sentence.begin, sentence.end - sentence.begin);
        if (!sentences_that_mention(text, asked, text.size()).empty())
            both.push_back(sentence);
    }
    const std::vector<TextRange>& found = both.empty() ? all : both;
    return found.size() > most_mentions ? std::vector<TextRange>() : found;
}

std::vector<WrittenPrompt> read_babilong(const PromptLine& line) {
    WrittenPrompt prompt;
    prompt.task = task_of(line, "babilong");
    prompt.context = line.needed_text("input");
    prompt.question = line.needed_text("question");
    prompt.answer = line.needed_text("target");
    prompt.needles = line.has("needles") ? line.needles(prompt.context) : facts_behind(prompt);
    return {prompt};
}

}  // namespace

PromptFormat parse_prompt_format(std::string_view name) {
    if (name == "kvtape")
        return PromptFormat::kvtape;
    if (name == "ruler")
        return PromptFormat::ruler;
    if (name == "babilong")
        return PromptFormat::babilong;
    throw usage_error("--format is '" + std::string(name) +
                      "'; it must be kvtape or ruler or babilong");
}

std::vector<WrittenPrompt> parse_prompt_line(std::string_view line,
                                             const std::string& where,
                                             PromptFormat format) {
    const PromptLine object(parse_json(line, where), where);
    switch (format) {
        case PromptFormat::kvtape:
            return read_own(object);
        case PromptFormat::ruler:
            return read_ruler(object);
        case PromptFormat::babilong:
            return read_babilong(object);
    }
    throw internal_error("reading prompts: unknown format");
}

std::vector<WrittenPrompt> parse_prompts(std::string_view text,
                                         std::string_view what,
                                         PromptFormat format) {
    std::vector<WrittenPrompt> prompts;
    for (std::size_t number = 1; !text.empty(); ++number) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.find_first_not_of(" \t\r") == std::string_view::npos)
            continue;
        const std::string where = std::string(what) + ", line " + std::to_string(number);
        for (WrittenPrompt& prompt : parse_prompt_line(line, where, format))
            prompts.push_back(std::move(prompt));
    }
    if (prompts.empty())
        throw format_error("reading " + std::string(what) + ": it has no prompts");
    return prompts;
}

}  // namespace kvtape::workload
