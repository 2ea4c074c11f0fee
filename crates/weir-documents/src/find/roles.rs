//! Words by which contracts call who is bound.

/// English roles, in small letters; longer ones first where one begins another.
const ENGLISH: &str = r"service\s+provider|first\s+party|second\s+party|third\s+party|party\s+(?:[a-c]|one|two|no\.?\s*[12])|disclosing\s+party|receiving\s+party|end\s+user|joint\s+venturer|founding\s+shareholder|sub-?contractor|sub-?licensee|sub-?licensor|sub-?tenant|sub-?lessee|franchisor|franchisee|distributor|manufacturer|counterparty|contractor|consultant|advis[eo]r|corporation|purchaser|publisher|recipient|guarantor|indemnitor|indemnitee|principal|supplier|provider|licensee|licensor|landlord|employer|employee|borrower|investors?|exporter|importer|merchant|customer|consignee|consignor|shipper|carrier|assignor|assignee|reseller|operator|promoter|developer|mortgagor|mortgagee|transferor|transferee|depositor|depositary|chargor|founders?|subscriber|shareholders?|stockholder|beneficiary|obligor|obligee|promisor|promisee|contracting\s+authority|client|company|vendor|seller|lender|tenant|lessor|lessee|renter|roommate|grower|trustee|settlor|holder|issuer|issuing\s+bank|incorporator|partner|member|agency|agent|broker|dealer|author|artist|owner|maker|payee|payer|payor|buyer|donor|donee|grantor|grantee|hirer|builder|charterer|sponsor|trainee|university|hospital|school|clinic|bank|insurer|insured|worker|freelancer";

/// Arabic roles, folded.
const ARABIC: &str = r"(?:ال)?طرف\s+(?:ال)?(?:اول|ثاني|ثالث|رابع)|الفريق\s+(?:الاول|الثاني|الثالث)|مقدم\s+الخدم(?:ه|ات)|مزود\s+الخدم(?:ه|ات)|متلقي\s+الخدمه|صاحب\s+العمل|رب\s+العمل|المرخص\s+له|المتعاقد|المرخص|البائع|المشتري|المورد|الموردون|المؤجر|المؤجره|المستاجر|المستاجره|الموظف|العامل|المقاول|العميل|الزبون|الشركه|المقرض|المقترض|الموزع|الوكيل|الموكل|الكفيل|الاستشاري|المستشار|المالك|الناقل|الشاحن|المصدر|المستورد|البنك|المصرف|المتبرع|الجهه\s+المالكه|المطور|المشغل|المستثمر|الشريك|المؤمن|المؤمن\s+له|المستفيد|المتنازل|المتنازل\s+له";

/// A pattern for an English role.
pub(super) fn english() -> String {
    format!("(?i:{ENGLISH})")
}

/// A pattern for an Arabic role.
pub(super) fn arabic() -> String {
    // Letters that carry a mark are folded in texts only where it is written above or below an alef.
    format!("(?:{ARABIC})")
}
