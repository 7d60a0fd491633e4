"""Sample texts by domain, to measure a pair of tokenizers without a corpus of one's own.

Written for this project and given to the public domain (CC0 1.0). Small on purpose: they show where two tokenizers
part ways, they don't represent a language. Measure your own corpus before you decide anything that costs money.
"""

from __future__ import annotations

_ENGLISH = """\
A lighthouse does not send its light further by shining brighter; it does so by shining in one direction at a time. \
The lens, built from rings of ground glass, bends what would have been lost to the sky and the cellar into a flat \
beam, and a clockwork turns that beam around the horizon. A sailor who sees it counts the seconds between flashes and \
looks the number up: twelve seconds, two flashes, therefore this headland and no other.

"You could run the whole thing with a lamp from the kitchen," the keeper said, wiping the brass, "if the glass were \
clean." She wasn't exaggerating. On clear nights her grandfather's paraffin lamp had been reported from \
nineteen miles \
away, and nobody who'd reported it would've believed what was burning up there. What people remember, of course, is \
the tower: white, well-kept and photographed every summer by visitors who never ask about the lens.
"""

_PYTHON = '''\
from collections import Counter
from pathlib import Path


def most_common_words(path: Path, count: int = 10) -> list[tuple[str, int]]:
    """The `count` most frequent words of a UTF-8 text file, lower-cased; ties in order of appearance."""
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count!r}")
    words: Counter[str] = Counter()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            words.update(word.strip(".,;:!?\\"'()") for word in line.lower().split())
            if number % 100_000 == 0:
                print(f"{number:>12,} lines read, {len(words):,} words so far")
    words.pop("", None)  # what was nothing but punctuation
    return words.most_common(count)


if __name__ == "__main__":
    for word, times in most_common_words(Path("notes.txt"), count=20):
        print(f"{times:6d}  {word}")
'''

_RUST = """\
/// Greatest common divisor of two numbers; `gcd(0, 0)` is 0.
pub fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fraction {
    numerator: i64,
    denominator: u64, // never 0
}

impl Fraction {
    pub fn new(numerator: i64, denominator: u64) -> Option<Self> {
        if denominator == 0 {
            return None;
        }
        let divisor = gcd(numerator.unsigned_abs(), denominator).max(1);
        Some(Self {
            numerator: numerator / divisor as i64,
            denominator: denominator / divisor,
        })
    }
}

#[test]
fn reduces() {
    assert_eq!(gcd(1071, 462), 21);
    assert_eq!(Fraction::new(-6, 8), Fraction::new(-3, 4));
    assert!(Fraction::new(1, 0).is_none());
}
"""

_MATHEMATICS = """\
Problem. A printer orders 1,248 reams of paper at 3.75 each and pays 19% tax. What does the order cost?
Solution. 1248 * 3.75 = 4680. The tax is 4680 * 0.19 = 889.20, so the total is 4680 + 889.20 = 5569.20.

Problem. Multiply 48271 by 90706 without a calculator.
Solution. 48271 * 90000 = 4344390000; 48271 * 700 = 33789700; 48271 * 6 = 289626. The sum is 4378469326. Check it \
modulo 9: 4+8+2+7+1 = 22 leaves 4, 9+0+7+0+6 = 22 leaves 4, and 4 * 4 = 16 leaves 7. The digits of 4378469326 add up \
to 52, which leaves 7 as well.

Facts to five or more places: \\(\\pi \\approx 3.14159265358979\\), \\(e \\approx 2.718281828459045\\), \
\\(\\sqrt{2} \\approx 1.4142135623730951\\), \\(\\ln 2 \\approx 0.6931471805599453\\). Powers: 2^10 = 1024, \
2^20 = 1048576, 2^32 = 4294967296, 2^64 = 18446744073709551616. Primes between 200 and 250: 211, 223, 227, 229, 233, \
239, 241. Factorials: 10! = 3628800, 15! = 1307674368000, 20! = 2432902008176640000.

Since \\(\\sum_{k=1}^{n} k = n(n+1)/2\\), the numbers from 1 to 201 add up to 201 * 202 / 2 = 20301.
"""

_CHINESE = """\
茶树是一种常绿灌木，野生的可以长成十几米高的乔木，茶园里的却常被修剪到齐腰高，好让人采摘。同一棵树上的叶子，做法\
不同，就成了不同的茶。\
绿茶要趁新鲜用高温炒或蒸，让叶子里的酶停止工作，所以颜色还是绿的；红茶则先让叶子失水变软，再揉捻，等它慢慢氧化，\
颜色由绿转红，味道也变得醇厚；\
乌龙茶介于两者之间，只让叶子的边缘变红，中间仍然保持绿色。

泡茶的水温也有讲究。嫩芽做的绿茶用八十度左右的水就够了，水太烫，茶汤会发黄发苦；乌龙茶和红茶要用刚烧开的水，香气\
才出得来。\
每次放多少茶叶，泡多长时间，各地的人习惯不一样：有人喜欢用大杯子，泡一整天，喝淡了再加水；有人用小壶小杯，每一泡\
只要十几秒，一壶茶可以喝上七八遍。

小时候，外婆常在傍晚烧一壶水，坐在院子里等邻居来聊天。她说，茶好不好，一半在叶子，一半在跟谁一起喝。\
那时我不懂，只顾着数天上的星星，数到二百零一颗就睡着了。后来我去过很多地方，喝过许多名贵的茶，最想念的还是那个院子，\
还有那只缺了一个口的白瓷杯。二零二四年春天我又回去了一次，院子还在，树长高了，邻居的孩子已经不认识我。\
我照着外婆的办法烧水、洗杯、放茶叶，一个人慢慢地喝完了一壶。

据书上记载，唐代人把茶叶压成饼，喝的时候先烤、再碾成细末，加盐煮着喝；宋代人把茶末放在碗里，冲水以后用竹刷打出白\
色的泡沫，还要比谁的泡沫留得久；\
到了明代，散茶流行起来，才有了今天这样用开水冲泡整片叶子的喝法。可见所谓老规矩，也是一代一代改出来的。
"""

_ARABIC = """\
كانت القوافل قديمًا تعبر الصحراء ليلًا أكثر مما تعبرها نهارًا، فحرارة الشمس تُنهك الإبل والناس معًا، أما الليل \
فبارد، ونجومه \
تدل على الطريق. كان الدليل يعرف أسماء النجوم كما يعرف أسماء أبنائه، ويعرف متى يطلع كل نجم وأين يغيب، فإذا حجبت \
الغيوم السماء \
توقفت القافلة وانتظرت حتى الصباح.

ولم يكن الماء يُحمل إلا بقدر الحاجة، فالبئر التالية تبعد مسيرة ثلاثة أيام أو أربعة. وكان على كل مسافر أن يقتصد \
في شربه، وأن \
يترك البئر نظيفة لمن يأتي بعده. يُحكى أن تاجرًا نسي هذه القاعدة مرة واحدة، فلم يأخذه أحد في قافلته بعد ذلك، واضطر \
إلى أن يبيع \
جِماله ويفتح دكانًا صغيرًا في المدينة، يبيع فيه القِرَب والحبال لمن يسافرون.

أما اليوم فتقطع الشاحنات المسافة نفسها في ٩ ساعات، على طريق طوله 1,247 كيلومترًا افتُتح عام 1986. لكن السائقين ما زالوا \
يتوقفون عند البئر القديمة، لا لأنهم يحتاجون إلى مائها، بل لأن الشاي عندها أطيب، ولأن من عادة الطريق ألا يمر أحد \
من غير سلام.
"""

_HINDI = """\
बरसात के पहले दिन गाँव के बच्चे स्कूल से सीधे तालाब की ओर दौड़ते हैं। पानी अभी गहरा नहीं होता, पर मिट्टी की ख़ुशबू \
और मेंढकों की \
आवाज़ सबको वहाँ खींच लाती है। बूढ़े लोग बरामदे में बैठकर बादलों को देखते हैं और हिसाब लगाते हैं कि धान की बुवाई \
कब शुरू करनी \
चाहिए। अगर बारिश एक हफ़्ते देर से आए, तो पूरी फ़सल पीछे चली जाती है।

मेरे दादाजी के पास एक पुरानी कॉपी थी, जिसमें वे हर साल की पहली बारिश की तारीख़ लिखते थे। उसमें १९६४ से २०११ तक \
के सारे साल \
दर्ज थे। किसी साल के आगे उन्होंने लिखा था, "कुआँ सूख गया", और किसी के आगे, "नदी पुल के ऊपर से बही"। मौसम विभाग के \
लोग एक बार \
उनसे मिलने आए और उन आँकड़ों की नक़ल बनाकर ले गए। दादाजी बहुत ख़ुश हुए, पर उन्होंने असली कॉपी किसी को नहीं दी।

अब वह कॉपी मेरे पास है। मैं भी हर साल उसमें एक पंक्ति जोड़ता हूँ: तारीख़, बारिश की मात्रा और एक छोटी-सी टिप्पणी। \
पिछले साल मैंने \
लिखा, "17 जून 2024, 42 मिलीमीटर, बच्चों ने काग़ज़ की 201 नावें चलाईं।" शायद यह विज्ञान नहीं है, लेकिन यह हमारी याददाश्त है।
"""

_RUSSIAN = """\
Зимой озеро замерзает не сразу. Сначала у берега появляется тонкая прозрачная корка, по которой ветер гоняет опавшие \
листья; потом, в одну тихую морозную ночь, лёд смыкается от края до края, и утром вода исчезает, словно её накрыли \
стеклом. Рыбаки знают, что такому льду верить нельзя: он гнётся и звенит под ногами, а трещины разбегаются с долгим \
певучим звуком, который слышно в деревне за три километра.

Через неделю-другую толщина льда достигает двадцати сантиметров, и тогда по озеру прокладывают дорогу. Её отмечают \
еловыми ветками, чтобы не заблудиться в метель. «В 1987 году, — рассказывал мне почтальон, — дорога продержалась до \
двенадцатого апреля, и последним по ней проехал я, с мешком писем и одной посылкой». Он говорил это так, будто речь \
шла о переходе через океан.

Теперь письма доставляют на катере на воздушной подушке, и почтальону не приходится считать ветки. Но каждую весну, \
когда лёд темнеет и отходит от берега, старики собираются на пристани и спорят, в какой именно день он тронется. \
Победителю полагается банка варенья; за 36 лет её дважды выигрывал один и тот же человек.
"""

_JAPANESE = """\
駅前の商店街のはずれに、祖父の代から続く時計の修理屋がある。看板の文字はもう半分消えかけているが、店の中に入ると、\
壁一面に掛けられた時計がそれぞれの速さで時を刻んでいて、まるで小さな雨が降っているような音がする。店主の佐藤さん\
は今年で七十八歳になるそうだ。

「止まった時計を直すのは簡単なんですよ」と佐藤さんは言う。「難しいのは、一日に三秒だけ遅れる時計です。原因が一つ\
とは限りませんから」。\
油が古くなっていることもあれば、歯車の歯がほんの少しだけ欠けていることもある。部品が手に入らないときは、真鍮の板\
を削って自分で作る。\
一番小さなネジは長さが〇・七ミリしかなく、床に落としたら磁石とライトを使って探すしかない。

ある日、若い女性が古い腕時計を持ってきた。亡くなったおじいさんの形見で、裏ぶたには「1964.10.10 東京」と彫ってあった。\
佐藤さんは二週間かけてそれを直し、代金を受け取るとき、「毎日同じ時間にネジを巻いてください」とだけ伝えた。\
彼女は今でも月に一度、店に寄って時間を合わせていく。スマートフォンを見れば正確な時刻はすぐに分かるのに、\
ここで合わせると安心するのだという。

夕方になると、店の奥にある大きな柱時計が六つ鳴る。それを聞いて、向かいのパン屋はシャッターを下ろし、子どもたちは\
公園から帰っていく。\
誰も決めたわけではないのに、この通りでは佐藤さんの時計が標準時なのである。
"""

_KOREAN = """\
할머니의 김장은 늘 배추를 고르는 일에서 시작되었다. 너무 큰 것은 속이 비어 있고, 너무 작은 것은 금방 무른다고 \
하셨다. 새벽 시장에서 \
고른 배추 서른여섯 포기를 손수레에 싣고 돌아오면, 마당에는 벌써 이웃 아주머니들이 앉아 마늘을 까고 있었다. \
배추를 반으로 갈라 소금물에 \
담가 두고, 다음 날 아침에 깨끗이 씻어 물기를 뺀 다음, 고춧가루와 젓갈과 무채를 버무린 양념을 한 잎 한 잎 사이에 넣는다.

"소금은 눈으로 재는 게 아니라 손으로 재는 거야." 할머니는 그렇게 말씀하시면서도, 부엌 벽에 붙여 둔 종이에는 \
연필로 숫자를 빼곡히 적어 \
두셨다. 1998년에는 소금 3.5킬로그램, 2004년에는 4킬로그램, 그 옆에는 "조금 짰음"이라는 작은 글씨가 보였다. 나는 \
그 종이를 아직도 \
가지고 있다.

요즘은 김치를 사서 먹는 집이 더 많다. 나도 평소에는 그렇게 하지만, 11월이 되면 꼭 한 번은 친구들을 불러 함께 \
김장을 한다. 맛은 해마다 \
조금씩 다르다. 그래도 다 끝나고 나서 갓 버무린 김치에 따뜻한 고기를 싸서 먹을 때면, 모두가 말없이 고개를 \
끄덕인다. 그 맛만은 할머니가 \
만드시던 것과 같기 때문이다. 그리고 벽에는 올해의 숫자가 또 한 줄 늘어난다.
"""

_EMOJI = """\
Group chat, Saturday 🗓️
Mia: who's in for the hike tomorrow? 🥾⛰️☀️
Jonas: me!! 🙋🏽‍♂️ bringing the dog 🐕‍🦺 and 3 sandwiches 🥪🥪🥪
Aylin: in 🙌 but only if we're back by 18:00 ⏰ (concert 🎻🎶)
Mia: deal 🤝 the whole family 👨‍👩‍👧‍👦 next door is coming too, the twins 👯‍♀️ want to see the waterfall 💦
Ravi: forecast says ⛈️ after 16:00… 😬 then 🌈?
Jonas: we'll be quick 🏃🏽‍♂️💨 last time it took 4h 12min ✅
Aylin: last time you got lost, Jonas 😂😂😂 twice 🧭🙃
Jonas: 🤫🤐 … that was the map's fault 🗺️
Mia: packing list 📝 ➡️ 💧2 l each, 🧴 sunscreen, 🩹 plasters, 🔦 just in case, 🍫🍫
Ravi: 👍🏿 and flags for the summit photo? 🇩🇪🇹🇷🇮🇳🇸🇪🏴‍☠️
Aylin: ❤️‍🔥 obviously. Also: 👩‍🚀 costume from carnival, don't ask 🤷🏻‍♀️
Mia: train at 08:05, platform 3️⃣ 🚆 be there or be 🟦
Jonas: 🫡🫶
"""

DOMAINS: dict[str, list[str]] = {
    "english": [_ENGLISH],
    "code": [_PYTHON, _RUST],
    "mathematics": [_MATHEMATICS],
    "chinese": [_CHINESE],
    "arabic": [_ARABIC],
    "hindi": [_HINDI],
    "russian": [_RUSSIAN],
    "japanese": [_JAPANESE],
    "korean": [_KOREAN],
    "emoji": [_EMOJI],
}
