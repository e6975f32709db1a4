#include "tools/workload/moves.hpp"

#include <algorithm>
#include <optional>

namespace kvtape::workload {
namespace {

constexpr std::size_t moves_of_where = 12;
constexpr std::size_t moves_of_object = 16;
constexpr std::size_t things_of_object = 2;

struct Person {
    std::string name;
    std::optional<std::size_t> place;
    std::size_t moved = 0;  ///< sentence of the last move
};

/// Held by somebody, lying somewhere, or not seen yet.
struct Thing {
    std::string name;
    std::optional<std::size_t> holder;
    std::optional<std::size_t> place;
    std::vector<std::size_t> lying;  ///< sentences that say where it lies
    std::size_t taken = 0;           ///< sentence that says who took it
};

/// A small world that writes down what happens in it.
class World {
  public:
    World(const Lexicon& lexicon, std::size_t moves, std::size_t things, Draw& draw)
        : lexicon_(lexicon) {
        const std::size_t people =
            std::min(lexicon.people.size(), std::max<std::size_t>(2, moves / 3));
        for (const std::size_t person : draw.sample(lexicon.people.size(), people))
            people_.push_back({.name = lexicon.people[person], .place = {}});
        const std::size_t kinds = std::min(things, lexicon.objects.size());
        for (const std::size_t thing : draw.sample(lexicon.objects.size(), kinds))
            things_.push_back(
                {.name = lexicon.objects[thing], .holder = {}, .place = {}, .lying = {}});
        for (std::size_t i = 0; i < moves; ++i)
            happen(draw);
    }

    /// Asks for one of the people that moved.
    Facts ask_person(Draw& draw) const {
        std::vector<const Person*> known;
        for (const Person& person : people_)
            if (person.place)
                known.push_back(&person);
        const Person& asked = *draw.choice(known);
        return {.sentences = sentences_,
                .ordered = true,
                .question = fill(lexicon_.where_question, {{"person", asked.name}}),
                .answer = lexicon_.places[*asked.place],
                .support = {asked.moved}};
    }

    /// Asks for one of the things whose place is known, if there is one.
    std::optional<Facts> ask_thing(Draw& draw) const {
        std::vector<const Thing*> known;
        for (const Thing& thing : things_)
            if (thing.holder || thing.place)
                known.push_back(&thing);
        if (known.empty())
            return {};
        const Thing& asked = *draw.choice(known);
        Facts facts{.sentences = sentences_,
                    .ordered = true,
                    .question = fill(lexicon_.object_question, {{"object", asked.name}}),
                    .answer = {},
                    .support = asked.lying};
        std::size_t place = asked.place.value_or(0);
        if (asked.holder) {
            const Person& holder = people_[*asked.holder];
            place = *holder.place;
            facts.support = {asked.taken, holder.moved};
        }
        facts.answer = lexicon_.places[place];
        std::sort(facts.support.begin(), facts.support.end());
        return facts;
    }

  private:
    void happen(Draw& draw) {
        const std::size_t person = draw.below(people_.size());
        const bool handles = draw.uniform() < 0.35 && !things_.empty() && people_[person].place;
        if (handles && (drop(person, draw) || take(person, draw)))
            return;
        move(people_[person], draw);
    }

    bool drop(std::size_t person, Draw& draw) {
        std::vector<Thing*> carried;
        for (Thing& thing : things_)
            if (thing.holder == person)
                carried.push_back(&thing);
        if (carried.empty() || draw.uniform() >= 0.4)
            return false;
        Thing& thing = *draw.choice(carried);
        thing.holder.reset();
        thing.place = people_[person].place;
        thing.lying = {people_[person].moved, sentences_.size()};
        sentences_.push_back(fill(lexicon_.object_drop,
                                  {{"person", people_[person].name},
                                   {"drop", draw.choice(lexicon_.drops)},
                                   {"object", thing.name}}));
        return true;
    }

    bool take(std::size_t person, Draw& draw) {
        std::vector<Thing*> free;
        for (Thing& thing : things_)
            if (!thing.holder && (!thing.place || thing.place == people_[person].place))
                free.push_back(&thing);
        if (free.empty())
            return false;
        Thing& thing = *draw.choice(free);
        thing.holder = person;
        thing.taken = sentences_.size();
        sentences_.push_back(fill(lexicon_.object_take,
                                  {{"person", people_[person].name},
                                   {"take", draw.choice(lexicon_.takes)},
                                   {"object", thing.name}}));
        return true;
    }

    void move(Person& person, Draw& draw) {
        std::vector<std::size_t> others;
        for (std::size_t place = 0; place < lexicon_.places.size(); ++place)
            if (person.place != place)
                others.push_back(place);
        person.place = draw.choice(others);
        person.moved = sentences_.size();
        sentences_.push_back(fill(lexicon_.where_fact,
                                  {{"person", person.name},
                                   {"move", draw.choice(lexicon_.moves)},
                                   {"place", lexicon_.places[*person.place]}}));
    }

    const Lexicon& lexicon_;
    std::vector<Person> people_;
    std::vector<Thing> things_;
    std::vector<std::string> sentences_;
};

}  // namespace

Facts draw_where(const Lexicon& lexicon, Draw& draw) {
    return World(lexicon, moves_of_where, 0, draw).ask_person(draw);
}

Facts draw_object(const Lexicon& lexicon, Draw& draw) {
    while (true)
        if (std::optional<Facts> facts =
                World(lexicon, moves_of_object, things_of_object, draw).ask_thing(draw))
            return *facts;
}

}  // namespace kvtape::workload
